//! A client of the API: a token, and HTTP calls that know the wire format but not the code.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Response, StatusCode, multipart};
use serde_json::{Value, json};

use crate::eventually;
use crate::keys::bearer_token;
use crate::stack::Stack;

/// How long processing a short clip may take here, while other tests run.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// A client with a bearer token.
#[derive(Debug, Clone)]
pub struct ApiClient {
    client: Client,
    edge: String,
    token: String,
}

/// A response with its body.
#[derive(Debug)]
pub struct ApiResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl ApiResponse {
    /// Reads a response to its end.
    ///
    /// # Panics
    /// If the connection breaks.
    pub async fn from_response(response: Response) -> Self {
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.bytes().await.expect("a body").to_vec(),
        }
    }

    /// A header as text; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The code of the problem; empty if the response is not a problem.
    pub fn code(&self) -> String {
        if !self.header("content-type").starts_with("application/problem+json") {
            return String::new();
        }
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A plain HTTP client: no redirects, no cookies, no compression, no proxy from the environment.
///
/// # Panics
/// If it cannot be created.
pub fn http_client() -> Client {
    Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().expect("a client")
}

impl ApiClient {
    /// A client for this user, with a token signed by the tests' secret.
    pub fn new(stack: &Stack, name: &str) -> Self {
        Self::with_token(stack, &bearer_token(name))
    }

    /// A client with exactly this token.
    pub fn with_token(stack: &Stack, token: &str) -> Self {
        Self { client: http_client(), edge: stack.edge.clone(), token: token.to_owned() }
    }

    /// Sends any call of the API.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> ApiResponse {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.edge))
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        ApiResponse::from_response(request.send().await.expect("the edge answers")).await
    }

    /// Sends any call with these headers and bytes.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> ApiResponse {
        ApiResponse::from_response(self.open(method, path, headers, body).await).await
    }

    /// Sends a request and returns the response before its body has been read.
    ///
    /// # Panics
    /// If the edge does not respond.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        let mut request = self.client.request(method, format!("{}{path}", self.edge)).body(body);
        if !self.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("the edge answers")
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> ApiResponse {
        self.call(Method::GET, path, None).await
    }

    /// Requests a presigned upload: `(video id, upload)`.
    ///
    /// # Panics
    /// If it is rejected.
    pub async fn create(&self, name: &str, kind: &str, size: usize, more: Value) -> (String, Value) {
        let mut body = json!({ "name": name, "size": size, "type": kind });
        body.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.call(Method::POST, "/api/videos", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let created = answer.json();
        (created["video"]["id"].as_str().expect("an id").to_owned(), created["upload"].clone())
    }

    /// Sends a file as the API specified.
    pub async fn put(&self, upload: &Value, body: Vec<u8>) -> ApiResponse {
        self.put_with_headers(upload, body, |_| {}).await
    }

    /// Sends a file with modified headers.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn put_with_headers(
        &self,
        upload: &Value,
        body: Vec<u8>,
        change: impl FnOnce(&mut Vec<(String, String)>),
    ) -> ApiResponse {
        let fields = upload["headers"].as_object().expect("headers");
        let mut headers: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()))
            .collect();
        change(&mut headers);
        let mut request = self.client.put(upload["url"].as_str().expect("a URL")).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        ApiResponse::from_response(request.send().await.expect("S3 answers")).await
    }

    /// Sends a form to S3, as a browser or Uppy would: the fields first, the file last.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn post_form(&self, url: &str, fields: &[(String, String)], file: Vec<u8>) -> ApiResponse {
        let mut form = multipart::Form::new();
        for (name, value) in fields {
            form = form.text(name.clone(), value.clone());
        }
        let file = multipart::Part::bytes(file).file_name("clip.mp4");
        let request = self.client.post(url).multipart(form.part("file", file));
        ApiResponse::from_response(request.send().await.expect("S3 answers")).await
    }

    /// Uploads a file and returns its video id.
    ///
    /// # Panics
    /// If it is rejected.
    pub async fn upload(&self, name: &str, kind: &str, body: Vec<u8>) -> String {
        let (video, upload) = self.create(name, kind, body.len(), json!({})).await;
        let answer = self.put(&upload, body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        video
    }

    /// Waits until the video has an outcome.
    ///
    /// # Panics
    /// If it has none in time.
    pub async fn wait_for_outcome(&self, video: &str) -> Value {
        eventually(&format!("the outcome of {video}"), READY_TIMEOUT, || async {
            let answer = self.get(&format!("/api/videos/{video}")).await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            let video = answer.json();
            (video["state"] != "processing").then_some(video)
        })
        .await
    }
}

/// Requests a URL without a token, with these headers.
///
/// # Panics
/// If there is no response.
pub async fn fetch(method: Method, url: &str, headers: &[(&str, &str)]) -> ApiResponse {
    let mut request = http_client().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    ApiResponse::from_response(request.send().await.expect("an answer")).await
}
