//! S3's event notification for a new object,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::s3::{ObjectCreatedEvent, form_encode};

/// The version of the structure in S3's `ObjectCreated` events.
const EVENT_VERSION: &str = "2.1";

/// The document that is sent to the queue.
pub(crate) fn s3_event(created: &ObjectCreatedEvent, bucket: &str, region: &str) -> Value {
    let time = Timestamp::from_millisecond(created.at_ms).unwrap_or_default();
    json!({ "Records": [{
        "eventVersion": EVENT_VERSION,
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": format!("{time:.3}"),
        "eventName": created.origin.event,
        "userIdentity": { "principalId": format!("AWS:{}", created.origin.principal) },
        "requestParameters": { "sourceIPAddress": created.origin.source_ip },
        "responseElements": {
            "x-amz-request-id": created.origin.request_id,
            "x-amz-id-2": created.origin.request_id,
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "glimpse-uploads",
            "bucket": {
                "name": bucket,
                "ownerIdentity": { "principalId": "GLIMPSELOCAL" },
                "arn": format!("arn:aws:s3:::{bucket}"),
            },
            "object": {
                "key": form_encode(&created.key),
                "size": created.bytes,
                "eTag": created.etag,
                "sequencer": format!("{:018X}", created.sequencer),
            },
        },
    }]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::EventOrigin;

    #[test]
    fn event_matches_aws_format() {
        let created = ObjectCreatedEvent {
            key: "uploads/o/a b+é".into(),
            bytes: 7,
            etag: "0cc175b9c0f1b6a831c399e269772661".into(),
            sequencer: 0x0005_5AED_6DCD_9028,
            at_ms: 1_767_225_600_120,
            origin: EventOrigin {
                event: "ObjectCreated:Put".into(),
                request_id: "C3D13FE58DE4C810".into(),
                principal: "key".into(),
                source_ip: "127.0.0.1".into(),
            },
        };
        let record = &s3_event(&created, "glimpse", "us-east-1")["Records"][0];
        assert_eq!(record["eventTime"], "2026-01-01T00:00:00.120Z");
        assert_eq!(record["eventName"], "ObjectCreated:Put");
        assert_eq!(record["s3"]["object"]["key"], "uploads/o/a+b%2B%C3%A9");
        assert_eq!(record["s3"]["object"]["sequencer"], "0000055AED6DCD9028");
        assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::glimpse");
    }
}
