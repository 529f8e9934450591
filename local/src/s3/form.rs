//! Decides how a form upload is read: the fields, then the file as a stream to disk, then the answer.

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use s3s::{Body, S3Result, s3_error};

use super::RequestId;
use super::body::{Expected, receive};
use super::condition::WriteConditions;
use super::post::{self, Fields, Signer, Success};
use super::record::{Draft, Object};
use super::reply;
use super::store::Origin;
use crate::s3::middleware::Front;

/// The most bytes of one field, and of all fields, that S3 reads before the file: 20 KB in its words.
const MAX_FIELDS_BYTES: usize = 64 * 1024;
/// How much of a refused upload is still read, so that a browser gets to see the answer.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Whether the request is a form upload: its body says who may do what.
pub(crate) fn is_form<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    request.method() == http::Method::POST
        && kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// Takes a form upload.
pub(crate) async fn take(
    front: &Front,
    request: Request<Incoming>,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let bucket = head.uri.path().trim_matches('/').to_owned();
    let mut stream = BodyDataStream::new(body);
    let result = take_from(front, &bucket, &head.headers, &mut stream, id).await;
    if result.is_err() {
        let mut drained = 0;
        while let Some(Ok(data)) = stream.next().await {
            drained += data.len();
            if drained > MAX_DRAINED_BYTES {
                break;
            }
        }
    }
    result
}

async fn take_from(
    front: &Front,
    bucket: &str,
    headers: &HeaderMap,
    body: &mut BodyDataStream<Incoming>,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    if bucket != front.settings.bucket {
        return Err(s3_error!(NoSuchBucket));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(post::malformed)?;
    // The reader of forms wants to own its stream, and a refused one has to be drained: so it goes through a
    // channel that holds one buffer.
    let (sender, receiver) = futures::channel::mpsc::channel::<Result<Bytes, hyper::Error>>(1);
    let pump = async {
        let mut sender = sender;
        while let Some(data) = body.next().await {
            if futures::SinkExt::send(&mut sender, data).await.is_err() {
                break;
            }
        }
    };
    let read = read_form(front, multer::Multipart::new(receiver, boundary), headers, id);
    // When the form has been judged, nobody waits for the pump.
    match futures::future::select(std::pin::pin!(read), std::pin::pin!(pump)).await {
        futures::future::Either::Left((answer, _)) => answer,
        futures::future::Either::Right(((), read)) => read.await,
    }
}

async fn read_form(
    front: &Front,
    mut form: multer::Multipart<'static>,
    headers: &HeaderMap,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let mut fields = Fields::new();
    let mut bytes = 0;
    while let Some(mut field) = form.next_field().await.map_err(post::malformed)? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            if let Some(key) = fields.get_mut("key") {
                *key = key.replace("${filename}", field.file_name().unwrap_or_default());
            }
            return take_file(front, &fields, field, headers, id).await;
        }
        let mut value = Vec::new();
        while let Some(data) = field.chunk().await.map_err(post::malformed)? {
            bytes += data.len();
            if bytes > MAX_FIELDS_BYTES {
                return Err(s3_error!(
                    MaxPostPreDataLengthExceededError,
                    "Your POST request fields preceding the upload file were too large."
                ));
            }
            value.extend_from_slice(&data);
        }
        let value = String::from_utf8(value).map_err(|_| s3_error!(MalformedPOSTRequest))?;
        if fields.insert(name.clone(), value).is_some() {
            return Err(s3_error!(InvalidArgument, "the form has the field '{name}' twice"));
        }
    }
    Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request."))
}

async fn take_file(
    front: &Front,
    fields: &Fields,
    file: multer::Field<'static>,
    headers: &HeaderMap,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let settings = &front.settings;
    let signer = Signer {
        access_key_id: &settings.access_key_id,
        secret_access_key: &settings.secret_access_key,
        region: &settings.region,
    };
    let accepted = post::judge(fields, &settings.bucket, signer, front.store.0.clock.now())?;
    let key = fields["key"].clone();
    if key.is_empty() || key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError, "a key has between 1 and 1024 bytes"));
    }
    let expected = Expected {
        min_bytes: accepted.min_bytes,
        max_bytes: accepted.max_bytes,
        checksums: super::checksum::from_texts(|name| fields.get(name).cloned()),
        ..Expected::default()
    };
    let received = receive(&front.store, Some(file), expected).await?;
    let draft = Draft {
        key,
        etag: received.etag,
        headers: post::object_headers(fields),
        metadata: post::object_metadata(fields),
        checksums: received.checksums,
        checksum_of_all: true,
        multipart: false,
        content: vec![received.content],
    };
    let origin = Origin {
        event: "ObjectCreated:Post".into(),
        request_id: id.name.clone(),
        principal: settings.access_key_id.clone(),
        source_ip: id.peer.clone(),
    };
    let object = front.store.commit(draft, WriteConditions::default(), origin).await?;
    answer(&settings.bucket, &object, fields, headers)
}

fn answer(bucket: &str, object: &Object, fields: &Fields, headers: &HeaderMap) -> S3Result<Response<Body>> {
    let key = &object.record.key;
    let etag = format!("\"{}\"", object.record.etag);
    let location = reply::location(headers, bucket, key);
    let mut response = Response::new(Body::empty());
    let mut place = location.clone();
    match post::success(fields) {
        Success::Empty(status) => *response.status_mut() = status,
        Success::Document => {
            let text = quick_xml::escape::escape;
            let document = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location>\
                 <Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
                text(location.as_str()),
                text(bucket),
                text(key.as_str()),
                text(etag.as_str()),
            );
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            *response.body_mut() = Body::from(document);
        }
        Success::Redirect(uri) => {
            let encode = |value: &str| {
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let joint = if uri.query().is_some() { '&' } else { '?' };
            place =
                format!("{uri}{joint}bucket={}&key={}&etag={}", encode(bucket), encode(key), encode(&etag));
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
    }
    for (name, value) in [(header::ETAG, etag), (header::LOCATION, place)] {
        let value = HeaderValue::try_from(value).map_err(|error| s3_error!(error, InternalError))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
