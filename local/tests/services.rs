//! Queue and topic over HTTP: authorization and requests. Run: `cargo test -p glimpse-local --test services`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use std::time::Duration;

use aws_credential_types::Credentials;
use common::TestBed;
use glimpse_backend::aws::AwsClient;
use glimpse_backend::aws::sqs::{MessageQueue as _, QueueAddress, SqsQueue};
use glimpse_backend::lambda;
use glimpse_backend::notify::http::client::HttpClient;
use glimpse_contract::{Key, VideoId};
use glimpse_local::{NotifySettings, PublishedMessage};
use reqwest::Response;
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:glimpse-videos";

struct ServiceClient<'a> {
    bed: &'a TestBed,
    url: String,
    secret: String,
}

impl<'a> ServiceClient<'a> {
    fn new(bed: &'a TestBed) -> Self {
        let url = format!("{}/", bed.cloud.addresses().services.as_ref().unwrap());
        Self { bed, url, secret: bed.client.settings.secret_access_key.clone() }
    }

    fn queue_url(&self) -> String {
        format!("{}000000000000/glimpse-notify", self.url)
    }

    async fn post(&self, service: &str, headers: &[(&str, &str)], body: String) -> Response {
        let target = ("POST", self.url.as_str(), service);
        let signed =
            common::signed_headers(self.bed, target, headers.iter().copied(), &self.secret, body.as_bytes());
        let mut request = self.bed.client.http.post(&self.url).body(body);
        let signed = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in headers.iter().copied().chain(signed) {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    }

    async fn sqs(&self, action: &str, body: Value) -> (u16, Value) {
        let target = format!("AmazonSQS.{action}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        let answer = self.post("sqs", &headers, body.to_string()).await;
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    async fn sns(&self, fields: &[(&str, &str)]) -> (u16, String) {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.post("sns", &headers, pairs.join("&")).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

async fn start_bed() -> TestBed {
    TestBed::with_config(|config| config.notify = Some(NotifySettings::new("http://localhost"))).await
}

#[tokio::test]
async fn sends_hides_and_counts_messages() {
    let bed = start_bed().await;
    let client = ServiceClient::new(&bed);
    let queue = bed.cloud.notify_queue().unwrap();
    let sent =
        client.sqs("SendMessage", json!({ "QueueUrl": client.queue_url(), "MessageBody": "hello" })).await;
    assert_eq!((sent.0, &sent.1["MD5OfMessageBody"]), (200, &"5d41402abc4b2a76b9719d911017c592".into()));
    let delivery = queue.receive(1).unwrap().remove(0);
    assert_eq!(
        (delivery.message.body.as_str(), &json!(delivery.message.id)),
        ("hello", &sent.1["MessageId"])
    );

    let hide = |receipt: &str, secs: u64| json!({ "QueueUrl": client.queue_url(), "ReceiptHandle": receipt, "VisibilityTimeout": secs });
    assert_eq!(client.sqs("ChangeMessageVisibility", hide(&delivery.receipt, 0)).await, (200, json!({})));
    assert_eq!(queue.depth().visible, 1);
    let again = queue.receive(1).unwrap().remove(0);
    assert_eq!(client.sqs("ChangeMessageVisibility", hide(&again.receipt, 43_200)).await.0, 200);
    let count = |name: &str| json!({ "QueueUrl": client.queue_url(), "AttributeNames": [name] });
    let waiting = client.sqs("GetQueueAttributes", count("ApproximateNumberOfMessages")).await;
    assert_eq!(waiting, (200, json!({ "Attributes": { "ApproximateNumberOfMessages": "0" } })), "in flight");
    assert_eq!(client.sqs("ChangeMessageVisibility", hide(&again.receipt, 0)).await.0, 200);
    let waiting = client.sqs("GetQueueAttributes", count("ApproximateNumberOfMessages")).await;
    assert_eq!(waiting.1["Attributes"]["ApproximateNumberOfMessages"], "1");
    let again = queue.receive(1).unwrap().remove(0);
    for (action, body, kind) in [
        ("GetQueueAttributes", count("All"), "InvalidAttributeName"),
        (
            "GetQueueAttributes",
            json!({ "QueueUrl": "http://other/", "AttributeNames": ["ApproximateNumberOfMessages"] }),
            "QueueDoesNotExist",
        ),
        ("ChangeMessageVisibility", hide(&delivery.receipt, 1), "ReceiptHandleIsInvalid"),
        ("ChangeMessageVisibility", hide(&again.receipt, 43_201), "InvalidParameterValue"),
        (
            "SendMessage",
            json!({ "QueueUrl": client.queue_url(), "MessageBody": "" }),
            "InvalidParameterValue",
        ),
        ("SendMessage", json!({ "QueueUrl": client.queue_url() }), "SerializationException"),
        ("SendMessage", json!({ "QueueUrl": "http://other/", "MessageBody": "x" }), "QueueDoesNotExist"),
        ("PurgeQueue", json!({ "QueueUrl": client.queue_url() }), "UnknownOperation"),
    ] {
        let (status, answer) = client.sqs(action, body).await;
        assert!(status == 400 && answer["__type"].as_str().unwrap().contains(kind), "{action}: {answer}");
    }
    bed.cloud.stop().await;
}

/// The client of the Lambdas. The queue's URL may name another host than the endpoint.
#[tokio::test]
async fn backend_client_sends_and_counts_messages() {
    let bed = start_bed().await;
    let services = ServiceClient::new(&bed);
    let settings = &bed.client.settings;
    let client = AwsClient {
        region: settings.region.clone(),
        credentials: Credentials::new(&settings.access_key_id, &services.secret, None, None, "test"),
        http_client: HttpClient::default(),
        now_ms: lambda::now_ms,
    };
    let queue = SqsQueue::new(
        QueueAddress::parse(&services.queue_url(), Some(&services.url)).unwrap(),
        client.clone(),
    );
    assert_eq!(queue.waiting_messages().await.unwrap(), 0);
    for body in ["one", "two"] {
        queue.send(body).await.unwrap();
    }
    assert_eq!(queue.waiting_messages().await.unwrap(), 2);
    bed.cloud.fail_services(2);
    assert_eq!(queue.waiting_messages().await.unwrap(), 2, "the third attempt succeeds");

    let other_url = "https://sqs.us-east-1.amazonaws.com/000000000000/other";
    let other = SqsQueue::new(QueueAddress::parse(other_url, Some(&services.url)).unwrap(), client);
    let error = other.waiting_messages().await.unwrap_err().to_string();
    assert_eq!(error, "sqs returned 400 com.amazonaws.sqs#QueueDoesNotExist");
    assert!(QueueAddress::parse("glimpse-notify", None).is_none());
    bed.cloud.stop().await;
}

#[tokio::test]
async fn records_published_messages() {
    let bed = start_bed().await;
    let client = ServiceClient::new(&bed);
    let fields = [
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", TOPIC),
        ("Subject", "A%20video"),
        ("Message", "caf%C3%A9"),
        ("MessageAttributes.entry.1.Name", "type"),
        ("MessageAttributes.entry.1.Value.DataType", "String"),
        ("MessageAttributes.entry.1.Value.StringValue", "video.ready"),
    ];
    let (status, answer) = client.sns(&fields).await;
    assert!(status == 200 && answer.contains("<MessageId>"), "{answer}");
    let published = PublishedMessage {
        subject: "A video".into(),
        message: "café".into(),
        attributes: vec![("type".into(), "video.ready".into())],
    };
    assert_eq!(bed.cloud.published_messages(), [published]);
    for (name, value, status) in [
        ("TopicArn", "arn:aws:sns:us-east-1:000000000000:other", 404),
        ("Subject", "a%0Ab", 400),
        ("Message", "", 400),
        ("Action", "DeleteTopic", 400),
        ("MessageAttributes.entry.1.Value.DataType", "Map", 400),
    ] {
        let changed = fields.map(|(known, old)| (known, if known == name { value } else { old }));
        assert_eq!(client.sns(&changed).await.0, status, "{name}={value}");
    }
    assert_eq!(bed.cloud.published_messages().len(), 1);
    bed.cloud.stop().await;
}

#[tokio::test]
async fn rejects_unsigned_requests() {
    let bed = start_bed().await;
    let mut client = ServiceClient::new(&bed);
    client.secret = "wrong".into();
    let (status, answer) =
        client.sqs("SendMessage", json!({ "QueueUrl": client.queue_url(), "MessageBody": "x" })).await;
    assert!(status == 403 && answer["__type"].as_str().unwrap().contains("InvalidSignature"), "{answer}");
    let (status, answer) = client.sns(&[("Action", "Publish")]).await;
    assert!(status == 403 && answer.contains("SignatureDoesNotMatch"), "{answer}");
    assert_eq!(bed.cloud.notify_queue().unwrap().messages().len() + bed.cloud.published_messages().len(), 0);
    bed.cloud.stop().await;
}

/// As in a deployment: outcomes go to one queue, uploads to the other, and images send no event.
#[tokio::test]
async fn outcome_goes_to_notify_queue_only() {
    let bed = start_bed().await;
    let video = VideoId::new(1, [1; 10]);
    let outcomes = [Key::Manifest(video), Key::Failure(video)].map(|key| key.to_string());
    let [manifest, failure] = &outcomes;
    let others = [
        format!("{}thumbnail.jpg", Key::media_prefix(video)),
        Key::Attempt(video).to_string(),
        format!("x/{manifest}"),
    ];
    for key in others.iter().chain([manifest, failure]) {
        bed.cloud.store().put(key, b"{}".to_vec(), "application/json").await.unwrap();
    }
    let names: Vec<String> = bed
        .cloud
        .notify_queue()
        .unwrap()
        .messages()
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).unwrap())
        .map(|event| event["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, outcomes);
    assert_eq!(bed.cloud.queue().messages(), []);
    assert_eq!(NotifySettings::new("").queue.visibility_timeout, Duration::from_mins(6));
    bed.cloud.stop().await;
}
