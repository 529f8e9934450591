//! Decides which of S3's errors a fault of ours is,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use s3s::{S3Error, S3ErrorCode, s3_error};

use super::body::BodyError;
use super::store::StoreError;

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NoSuchKey => S3ErrorCode::NoSuchKey,
            StoreError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            StoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            StoreError::InvalidPart(_) => S3ErrorCode::InvalidPart,
            StoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            StoreError::PartTooSmall(_) => S3ErrorCode::EntityTooSmall,
            StoreError::BadDigest => S3ErrorCode::BadDigest,
            StoreError::Io(_) => S3ErrorCode::InternalError,
        };
        let message = error.to_string();
        let mut answer = S3Error::with_source(code, Box::new(error));
        answer.set_message(message);
        answer
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        let mut answer = match &error {
            BodyError::Incomplete | BodyError::Broken(_) => s3_error!(IncompleteBody),
            BodyError::TooLarge => s3_error!(EntityTooLarge),
            BodyError::TooSmall => s3_error!(EntityTooSmall),
            BodyError::BadDigest => s3_error!(BadDigest),
            BodyError::NotAsSigned => {
                let mut answer = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
                answer.set_status_code(http::StatusCode::BAD_REQUEST);
                answer
            }
            BodyError::Io(_) => s3_error!(InternalError),
        };
        answer.set_message(message);
        answer.set_source(Box::new(error));
        answer
    }
}
