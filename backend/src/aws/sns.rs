//! SNS client that publishes messages to one topic over the query protocol:
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>.

use bytes::Bytes;
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{AwsClient, AwsError, AwsRequest};

/// All characters except the unreserved ones of RFC 3986 are encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where an SNS topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAddress {
    arn: String,
    region: String,
    endpoint: Uri,
}

/// An SNS topic.
#[derive(Debug, Clone)]
pub struct SnsTopic {
    client: AwsClient,
    address: TopicAddress,
}

/// A message to the topic's subscribers.
#[derive(Debug, Clone, Copy)]
pub struct SnsMessage<'a> {
    /// The subject of the email: ASCII, at most 100 characters.
    pub subject: &'a str,
    /// The text.
    pub text: &'a str,
    /// The message attribute `type`, which subscription filters match.
    pub kind: &'a str,
}

impl TopicAddress {
    /// The address of the topic with this ARN, in the region that the ARN names; `None` if the ARN is not that of a
    /// topic. `endpoint` replaces the AWS endpoint.
    pub fn parse(arn: &str, endpoint: Option<&str>) -> Option<Self> {
        let parts: Vec<_> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else { return None };
        if region.is_empty() || account.is_empty() || name.is_empty() {
            return None;
        }
        let suffix = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let host = format!("https://sns.{region}.{suffix}/");
        let endpoint = super::endpoint_root(&endpoint.unwrap_or(&host).parse().ok()?)?;
        Some(Self { arn: arn.to_owned(), region: region.to_owned(), endpoint })
    }
}

impl SnsTopic {
    /// A client of the topic at this address, with the credentials of `client`.
    pub fn new(address: TopicAddress, client: AwsClient) -> Self {
        let client = AwsClient { region: address.region.clone(), ..client };
        Self { client, address }
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// The last error, if SNS did not accept the message.
    pub async fn publish(&self, message: SnsMessage<'_>) -> Result<(), AwsError> {
        let fields = [
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("TopicArn", &self.address.arn),
            ("Subject", message.subject),
            ("Message", message.text),
            ("MessageAttributes.entry.1.Name", "type"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", message.kind),
        ];
        let body = fields.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)));
        let headers = vec![("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"))];
        let body = Bytes::from(body.join("&"));
        self.client
            .send(AwsRequest { service: "sns", url: &self.address.endpoint, headers, body })
            .await
            .map(drop)
    }
}
