//! Decides what is said about `/auth`, `/api/me`, `/health` and the document itself.

use glimpse_contract::Code;

use super::operation::Operation;
use super::{DOCUMENT_PATH, example, shape};
use crate::openapi::responses::MeResponse;

pub(super) const TAG: &str = "sign in";

pub(super) fn operations() -> Vec<Operation> {
    let me = MeResponse {
        owner: example::owner(),
        subject: "alice".into(),
        name: Some("Alice".into()),
        email: Some("alice@example.com".into()),
        limits: example::limits(),
    };
    vec![
        Operation::new("GET", "/api/me", "me", TAG)
            .describe("Who asks, and what they may upload", "")
            .json_response::<MeResponse>(200, "The caller.", &me),
        Operation::new("GET", "/auth/login", "login", TAG)
            .public()
            .describe("Sign in with a browser", "Sends the browser to the OpenID provider: code flow with PKCE.")
            .query_parameter("return_to", "The path to come back to.", shape::string())
            .empty_response(302, "To the provider.")
            .response_header("location", "The provider's own page.")
            .problems(&[Code::NotFound, Code::Upstream]),
        Operation::new("GET", "/auth/callback", "callback", TAG)
            .public()
            .describe("Where the provider sends the browser back to", "")
            .query_parameter("code", "The provider's code.", shape::string())
            .query_parameter("state", "The state that was sent with the browser.", shape::string())
            .query_parameter("error", "What the provider says went wrong.", shape::string())
            .empty_response(
                302,
                "To where the browser came from; to `/` if this sign-in is over and the browser is signed in; or to \
                 `/?sign_in=failed`.",
            )
            .response_header("location", "The page.")
            .problems(&[Code::NotFound]),
        Operation::new("POST", "/auth/logout", "logout", TAG)
            .describe("Sign out here", "The provider's own session is its own.")
            .empty_response(204, "The session cookie is taken back."),
        Operation::new("GET", "/health", "health", TAG)
            .public()
            .describe("Whether the Worker answers", "It asks nobody else.")
            .empty_response(200, "It does."),
        Operation::new("GET", DOCUMENT_PATH, "openapi", TAG)
            .public()
            .describe("This document", "")
            .object_response(200, "This document."),
    ]
}
