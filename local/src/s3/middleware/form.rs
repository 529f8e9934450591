//! Handles form uploads: reads the fields, then streams the file to disk, then responds.

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use s3s::{Body, S3Result, s3_error};

use crate::s3::RequestId;
use crate::s3::body::{ExpectedBody, receive};
use crate::s3::condition::WriteConditions;
use crate::s3::middleware::S3Server;
use crate::s3::post::{self, FormFields, PostSigner, SuccessAction};
use crate::s3::record::{NewObject, ObjectEntry};
use crate::s3::reply;
use crate::s3::store::EventOrigin;

/// The maximum size of one field, and of all fields before the file; S3 documents 20 KB.
const MAX_FIELDS_BYTES: usize = 64 * 1024;
/// How much of a rejected upload is still read, so that a browser receives the response.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Handles a form upload.
pub(crate) async fn handle(
    server: &S3Server,
    request: Request<Incoming>,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let bucket = head.uri.path().trim_matches('/').to_owned();
    let mut stream = BodyDataStream::new(body);
    let result = handle_stream(server, &bucket, &head.headers, &mut stream, id).await;
    if result.is_err() {
        let mut drained_bytes = 0;
        while let Some(Ok(data)) = stream.next().await {
            drained_bytes += data.len();
            if drained_bytes > MAX_DRAINED_BYTES {
                break;
            }
        }
    }
    result
}

async fn handle_stream(
    server: &S3Server,
    bucket: &str,
    headers: &HeaderMap,
    body: &mut BodyDataStream<Incoming>,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    if bucket != server.settings.bucket {
        return Err(s3_error!(NoSuchBucket));
    }
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(post::malformed_form)?;
    // The form parser needs an owned stream, and a rejected body must be drained: the body goes through a channel that
    // holds one buffer.
    let (sender, receiver) = futures::channel::mpsc::channel::<Result<Bytes, hyper::Error>>(1);
    let pump = async {
        let mut sender = sender;
        while let Some(data) = body.next().await {
            if futures::SinkExt::send(&mut sender, data).await.is_err() {
                break;
            }
        }
    };
    let form_result = read_form(server, multer::Multipart::new(receiver, boundary), headers, id);
    // Once the form has been handled, the pump is dropped.
    match futures::future::select(std::pin::pin!(form_result), std::pin::pin!(pump)).await {
        futures::future::Either::Left((response, _)) => response,
        futures::future::Either::Right(((), read)) => read.await,
    }
}

async fn read_form(
    server: &S3Server,
    mut form: multer::Multipart<'static>,
    headers: &HeaderMap,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let mut fields = FormFields::new();
    let mut bytes = 0;
    while let Some(mut field) = form.next_field().await.map_err(post::malformed_form)? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            if let Some(key) = fields.get_mut("key") {
                *key = key.replace("${filename}", field.file_name().unwrap_or_default());
            }
            return store_file(server, &fields, field, headers, id).await;
        }
        let mut value = Vec::new();
        while let Some(data) = field.chunk().await.map_err(post::malformed_form)? {
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
            return Err(s3_error!(InvalidArgument, "the form contains the field '{name}' twice"));
        }
    }
    Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request."))
}

async fn store_file(
    server: &S3Server,
    fields: &FormFields,
    file: multer::Field<'static>,
    headers: &HeaderMap,
    id: &RequestId,
) -> S3Result<Response<Body>> {
    let settings = &server.settings;
    let signer = PostSigner {
        access_key_id: &settings.access_key_id,
        secret_access_key: &settings.secret_access_key,
        region: &settings.region,
    };
    let limits = post::authorize(fields, &settings.bucket, signer, server.store.0.clock.now())?;
    let key = fields["key"].clone();
    if key.is_empty() || key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError, "a key has between 1 and 1024 bytes"));
    }
    let expected = ExpectedBody {
        min_bytes: limits.min_bytes,
        max_bytes: limits.max_bytes,
        checksums: crate::s3::checksum::from_texts(|name| fields.get(name).cloned()),
        ..ExpectedBody::default()
    };
    let received = receive(&server.store, Some(file), expected).await?;
    let new_object = NewObject {
        key,
        etag: received.etag,
        headers: post::object_headers(fields),
        metadata: post::object_metadata(fields),
        checksums: received.checksums,
        checksum_of_all: true,
        multipart: false,
        content: vec![received.content],
    };
    let origin = EventOrigin {
        event: "ObjectCreated:Post".into(),
        request_id: id.name.clone(),
        principal: settings.access_key_id.clone(),
        source_ip: id.client_ip.clone(),
    };
    let object = server.store.commit(new_object, WriteConditions::default(), origin).await?;
    success_response(&settings.bucket, &object, fields, headers)
}

fn success_response(
    bucket: &str,
    object: &ObjectEntry,
    fields: &FormFields,
    headers: &HeaderMap,
) -> S3Result<Response<Body>> {
    let key = &object.record.key;
    let etag = format!("\"{}\"", object.record.etag);
    let location = reply::object_location(headers, bucket, key);
    let mut response = Response::new(Body::empty());
    let mut location_header = location.clone();
    match post::success_action(fields) {
        SuccessAction::Empty(status) => *response.status_mut() = status,
        SuccessAction::Document => {
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
        SuccessAction::Redirect(uri) => {
            let encode = |value: &str| {
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
            };
            let separator = if uri.query().is_some() { '&' } else { '?' };
            location_header = format!(
                "{uri}{separator}bucket={}&key={}&etag={}",
                encode(bucket),
                encode(key),
                encode(&etag)
            );
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
    }
    for (name, value) in [(header::ETAG, etag), (header::LOCATION, location_header)] {
        let value = HeaderValue::try_from(value).map_err(|error| s3_error!(error, InternalError))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
