//! Maps internal errors to S3's error responses, <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use s3s::{S3Error, S3ErrorCode, s3_error};

use super::body::BodyError;
use super::store::ObjectStoreError;

impl From<ObjectStoreError> for S3Error {
    fn from(error: ObjectStoreError) -> Self {
        let code = match &error {
            ObjectStoreError::NoSuchKey => S3ErrorCode::NoSuchKey,
            ObjectStoreError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
            ObjectStoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            ObjectStoreError::InvalidPart(_) => S3ErrorCode::InvalidPart,
            ObjectStoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            ObjectStoreError::PartTooSmall(_) => S3ErrorCode::EntityTooSmall,
            ObjectStoreError::BadDigest => S3ErrorCode::BadDigest,
            ObjectStoreError::Io(_) => S3ErrorCode::InternalError,
        };
        let message = error.to_string();
        let mut s3_error = S3Error::with_source(code, Box::new(error));
        s3_error.set_message(message);
        s3_error
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        let mut s3_error = match &error {
            BodyError::Incomplete | BodyError::Interrupted(_) => s3_error!(IncompleteBody),
            BodyError::TooLarge => s3_error!(EntityTooLarge),
            BodyError::TooSmall => s3_error!(EntityTooSmall),
            BodyError::BadDigest => s3_error!(BadDigest),
            BodyError::PayloadMismatch => {
                let mut mismatch = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
                mismatch.set_status_code(http::StatusCode::BAD_REQUEST);
                mismatch
            }
            BodyError::Io(_) => s3_error!(InternalError),
        };
        s3_error.set_message(message);
        s3_error.set_source(Box::new(error));
        s3_error
    }
}
