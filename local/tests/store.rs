//! The backend's S3 client on the local S3 server. Run: `cargo test -p glimpse-local --test store`.

#![allow(
    clippy::unwrap_used,
    reason = "a test reports by panicking; clippy exempts only functions marked as tests"
)]

mod common;

use aws_credential_types::Credentials;
use common::TestBed;
use glimpse_backend::store::conformance;
use glimpse_backend::store::s3::{S3Config, S3Store};

#[tokio::test]
async fn backend_store_conforms() {
    let bed = TestBed::new().await;
    let settings = bed.cloud.settings();
    let (key_id, secret) = (&settings.access_key_id, &settings.secret_access_key);
    let store = S3Store::new(&S3Config {
        region: settings.region.clone(),
        credentials: Credentials::new(key_id, secret, None, None, "test"),
        endpoint: Some(bed.cloud.addresses().s3_endpoint.clone()),
        bucket: settings.bucket.clone(),
    });
    assert_eq!(conformance::find_violations(&store).await, Vec::<String>::new());
}
