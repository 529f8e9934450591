//! Decides what is said about `/auth`, `/api/me`, `/health` and the document itself.

use glimpse_contract::Code;

use super::operation::Operation;
use super::{ADDRESS, example, shape};
use crate::openapi::responses::Me;

pub(super) const TAG: &str = "sign in";

pub(super) fn operations() -> Vec<Operation> {
    let me = Me {
        owner: example::owner(),
        subject: "alice".into(),
        name: Some("Alice".into()),
        email: Some("alice@example.com".into()),
        limits: example::limits(),
    };
    vec![
        Operation::new("GET", "/api/me", "me", TAG)
            .says("Who asks, and what they may upload", "")
            .answers::<Me>(200, "The caller.", &me),
        Operation::new("GET", "/auth/login", "login", TAG)
            .open()
            .says("Sign in with a browser", "Sends the browser to the OpenID provider: code flow with PKCE.")
            .query("return_to", "The path to come back to.", shape::text())
            .answers_nothing(302, "To the provider.")
            .sends("location", "The provider's own page.")
            .problems(&[Code::NotFound, Code::Upstream]),
        Operation::new("GET", "/auth/callback", "callback", TAG)
            .open()
            .says("Where the provider sends the browser back to", "")
            .query("code", "The provider's code.", shape::text())
            .query("state", "The state that was sent with the browser.", shape::text())
            .query("error", "What the provider says went wrong.", shape::text())
            .answers_nothing(
                302,
                "To where the browser came from; to `/` if this sign-in is over and the browser is signed in; or to \
                 `/?sign_in=failed`.",
            )
            .sends("location", "The page.")
            .problems(&[Code::NotFound]),
        Operation::new("POST", "/auth/logout", "logout", TAG)
            .says("Sign out here", "The provider's own session is its own.")
            .answers_nothing(204, "The session cookie is taken back."),
        Operation::new("GET", "/health", "health", TAG)
            .open()
            .says("Whether the Worker answers", "It asks nobody else.")
            .answers_nothing(200, "It does."),
        Operation::new("GET", ADDRESS, "openapi", TAG)
            .open()
            .says("This document", "")
            .answers_json(200, "This document."),
    ]
}
