//! OpenAPI operations of `/auth`, `/api/me`, `/health` and the document itself.

use glimpse_contract::Code;

use super::operation::Operation;
use super::{DOCUMENT_PATH, example, shape};
use crate::openapi::responses::MeResponse;

pub(super) const TAG: &str = "sign in";
/// The tag of operations that concern no caller.
pub(super) const DEPLOYMENT_TAG: &str = "deployment";

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
            .describe("The caller, and the limits of its uploads", "With an upload token, the limits are those of the token.")
            .json_response::<MeResponse>(200, "The caller.", &me),
        Operation::new("GET", "/auth/login", "login", TAG)
            .public()
            .describe("Sign in with a browser", "Redirects the browser to the OpenID provider: authorization code flow with PKCE.")
            .query_parameter("return_to", "The path to return to.", shape::string())
            .example(format!("/{}", example::video_id()).into())
            .empty_response(302, "To the provider.")
            .response_header("location", "The provider's page.")
            .problems(&[Code::NotFound, Code::Upstream]),
        Operation::new("GET", "/auth/callback", "callback", TAG)
            .public()
            .describe("Callback of the provider", "The provider redirects the browser here. Register this URL at the provider; no program needs to call it.")
            .query_parameter("code", "The provider's code.", shape::string())
            .example("SplxlOBeZQQYbYS6WxSbIA".into())
            .query_parameter("state", "The state of the sign-in.", shape::string())
            .example("xcoVv98y2kd44vuqwye3kcq".into())
            .query_parameter("error", "The provider's error code.", shape::string())
            .empty_response(
                302,
                "To the path of the sign-in; to `/` if the sign-in is already completed and the browser signed in; or to \
                 `/?sign_in=failed`.",
            )
            .response_header("location", "The page.")
            .empty_response(
                200,
                "If `state` begins with `loopback.PORT.`: to the command-line tool that has started the sign-in, on that \
                 port of the browser's machine.",
            )
            .response_header("refresh", "The tool's URL, with the parameters of this request.")
            .problems(&[Code::NotFound]),
        Operation::new("POST", "/auth/logout", "logout", TAG)
            .describe("Sign out", "The session at the provider is not affected.")
            .empty_response(204, "The session cookie is removed."),
        Operation::new("GET", "/health", "health", DEPLOYMENT_TAG)
            .public()
            .describe("Health check", "Without requests to other services.")
            .empty_response(200, "The Worker is running."),
        Operation::new("GET", DOCUMENT_PATH, "openapi", DEPLOYMENT_TAG)
            .public()
            .describe("OpenAPI document", "The OpenAPI 3.1 document of all operations. Pages of any origin can read it.")
            .object_response(200, "The document."),
    ]
}
