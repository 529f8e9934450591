//! Decides nothing by itself: asks `proof` what a URL proves, and keeps private pictures apart from public ones.
//!
//! A private picture lies in the cache under a key that only a granted request looks up. Which videos are private is
//! noted beside, with their owners, so that nobody costs the bucket a request by asking without a token.

use std::cell::RefCell;

use bytes::Bytes;
use glimpse_contract::{Code, Json, Owner, PictureRequest, Problem, VideoId};

use crate::auth::authenticate;
use crate::auth::{DeliveryToken, ShortToken, TokenError, UnverifiedToken};
use crate::config::Config;
use crate::delivery::cache_key::{PRIVATE_FOLDER, refusal_place};
use crate::delivery::cache_policy::check_open;
use crate::delivery::download::hand_over;
use crate::delivery::handler::Place;
use crate::delivery::lookup::Rights;
use crate::delivery::recent::Recent;
use crate::delivery::signed_url::{Carried, Grant, Proof, ProofError, rejected, take_apart};
use crate::delivery::storyboard_files::{is_sheet, without_format};
use crate::http::response::Reply;
use crate::platform::{self, Limiter, Request};
use crate::s3::client;

/// The header of a note that names the video's owner.
const OWNER: &str = "x-glimpse-owner";
/// How long a note is kept. A video that is private stays so.
const NOTE_CONTROL: &str = "public, max-age=86400";

/// How long this isolate knows that a video is private, in milliseconds.
const KNOWN_PRIVATE_MS: u64 = 60_000;

thread_local! {
    // Private videos, so that anonymous requests read nothing even where the cache keeps no notes.
    static PRIVATE: RefCell<Recent> = const { RefCell::new(Recent::new()) };
}

/// What the URL proves.
///
/// # Errors
/// A proof that is incomplete or does not hold.
pub(crate) async fn proof(
    path: &str,
    query: Option<&str>,
    config: &Config,
    request_id: &str,
) -> Result<Proof, Problem> {
    let query = query.unwrap_or_default();
    match take_apart(query)? {
        Carried::Nothing => Ok(Proof::Nothing),
        Carried::Token(text, beside) => {
            let mut token = verified(text, config).await.map_err(|error| logged(error, request_id))?;
            let joint = if token.query.is_empty() || beside.is_empty() { "" } else { "&" };
            token.query.extend([joint, &beside]);
            if is_sheet(path) {
                token.query = without_format(&token.query);
            }
            Ok(Proof::Token(token, text.to_owned()))
        }
        Carried::Short([expires, key_id, signature], rest) => {
            let short = ShortToken::read(expires, key_id, signature);
            Ok(Proof::Short(short.map_err(|error| logged(error, request_id))?.sent_as(path, query), rest))
        }
    }
}

/// The answer to a rejected token; the log has the reason, whatever it is.
fn logged(error: impl Into<ProofError>, request_id: &str) -> Problem {
    match error.into() {
        ProofError::Token(error) => {
            platform::log_error("delivery_token", request_id, &error.to_string());
            rejected(error)
        }
        ProofError::Request(problem) => problem,
    }
}

async fn verified(text: &str, config: &Config) -> Result<DeliveryToken, TokenError> {
    let token = UnverifiedToken::read(text)?;
    let claims = token.claims()?;
    if let Some(verification) = config.delivery_keys.check(&token, &claims)?
        && !platform::verify(&verification).await
    {
        return Err(TokenError::Signature);
    }
    DeliveryToken::of(&claims, platform::now_ms())
}

/// `GET /{video}/original` by a token: 302 to the bucket.
pub(crate) async fn original_by_token(
    video: VideoId,
    request: &Request,
    proof: &Proof,
    place: &Place<'_>,
) -> Result<Reply, Problem> {
    let (config, request_id, now_ms) = (place.config, place.request_id, platform::now_ms());
    proof.check_original(video, &config.delivery_keys, now_ms).map_err(|error| logged(error, request_id))?;
    if !platform::is_within(place.env, Limiter::Reads, &platform::client_key_of(request)).await {
        return Err(Problem::new(Code::Busy));
    }
    let manifest = client::manifest(video, config, now_ms, request_id).await?;
    let manifest = manifest.ok_or_else(|| Problem::new(Code::NotFound))?;
    hand_over(video, &manifest.owner, Some(&manifest), &request.method(), config, request_id).await
}

fn note(config: &Config, video: VideoId) -> String {
    format!("{}{PRIVATE_FOLDER}/{video}", config.public_url)
}

fn no_grant() -> Problem {
    let detail = "This video is private: its pictures need a token, or its owner's session.";
    Problem::because(Code::Unauthorized, detail)
}

/// One request for a picture, and what it may see.
pub(super) struct Access<'a> {
    pub(super) request: &'a Request,
    pub(super) place: &'a Place<'a>,
    /// Whether the picture is a private one, as far as is known.
    pub(super) is_private: bool,
    /// The client's address, as requests are counted by it.
    pub(super) client: String,
    grant: Option<Grant>,
}

impl<'a> Access<'a> {
    /// A request that carries this proof.
    ///
    /// # Errors
    /// `token_refused`
    pub(super) fn new(
        request: &'a Request,
        wanted: &PictureRequest,
        proof: &Proof,
        place: &'a Place<'a>,
    ) -> Result<Self, Problem> {
        let grant = proof.grant(wanted, &place.config.delivery_keys, platform::now_ms());
        let grant = grant.map_err(|error| logged(error, place.request_id))?;
        Ok(Self { request, place, is_private: false, client: platform::client_key_of(request), grant })
    }

    /// Whether it may see the picture even if that is private.
    pub(super) fn is_granted(&self) -> bool {
        self.grant.is_some()
    }

    /// The grant, where the picture needs one.
    pub(super) fn private(&self) -> Option<&Grant> {
        self.grant.as_ref().filter(|_| self.is_private)
    }

    /// Whether its owner asks for a private picture.
    pub(super) fn is_owner(&self) -> bool {
        self.private() == Some(&Grant::Owner)
    }

    /// Lets a request through for a picture that everybody may ask for, and the owner for every other one.
    ///
    /// # Errors
    /// `bad_parameter`, with what may be asked for; or trouble with the storage.
    pub(super) async fn check_open(&self, wanted: &PictureRequest) -> Result<(), Problem> {
        let Err(problem) = check_open(wanted.variant, self.place.config) else { return Ok(()) };
        let Some(caller) = self.caller().await else { return Err(problem) };
        let Place { config, request_id, .. } = *self.place;
        let manifest = client::manifest(wanted.video, config, platform::now_ms(), request_id).await?;
        if manifest.is_some_and(|manifest| manifest.owner == caller) { Ok(()) } else { Err(problem) }
    }

    /// Whether the request says who asks, proven or not.
    fn says_who(&self) -> bool {
        ["cookie", "authorization"].iter().any(|name| platform::header(self.request, name).is_some())
    }

    /// The authenticated owner, if the request carries a valid credential.
    async fn caller(&self) -> Option<Owner> {
        if !self.says_who() {
            return None;
        }
        let Place { config, request_id, .. } = *self.place;
        let caller = authenticate::caller(self.request, None, config, request_id).await;
        caller.ok().map(|caller| caller.owner)
    }

    /// What the request may see, and by whom it is counted. Who asks matters only where something may be made.
    pub(super) async fn rights(&self, wanted: &PictureRequest) -> Rights {
        let is_made = !self.is_granted() && !wanted.variant.is_default();
        let caller = if is_made { self.caller().await } else { None };
        Rights { is_granted: self.is_granted(), caller, client: self.client.clone() }
    }

    /// Why the picture cannot be made, if that was found out some minutes ago.
    pub(super) async fn noted_refusal(&self, wanted: &PictureRequest) -> Option<Problem> {
        if wanted.variant.is_default() {
            return None;
        }
        let folders: &[bool] = if self.is_granted() { &[true, false] } else { &[false] };
        for is_private in folders {
            let url = refusal_place(self.place.config, wanted, *is_private);
            let Some(note) = platform::cache_get(&url).await else { continue };
            let note = Json::read(&platform::response_bytes(&note).await?)?;
            return Some(Problem::because(Code::of_json(note.get("code")), note.get("detail").text()?));
        }
        None
    }

    /// Lets the owner of a video in that is known to be private, and says whether it was one.
    ///
    /// # Errors
    /// `unauthorized`: it is somebody else.
    pub(super) async fn admit_by_note(&mut self, video: VideoId) -> Result<bool, Problem> {
        if self.is_granted() {
            return Ok(false);
        }
        let now_ms = platform::now_ms();
        let says_who = self.says_who();
        if !says_who && PRIVATE.with_borrow(|private| private.has(video, now_ms)) {
            return Err(no_grant());
        }
        let Some(note) = platform::cache_get(&note(self.place.config, video)).await else { return Ok(false) };
        let owner = platform::response_header(&note, OWNER).and_then(|text| text.parse().ok());
        self.admit(owner.as_ref()).await?;
        Ok(true)
    }

    /// Lets the owner of a private video in, and notes that it is private.
    ///
    /// # Errors
    /// `unauthorized`, or trouble with the storage.
    pub(super) async fn admit_owner_of(&mut self, video: VideoId) -> Result<(), Problem> {
        let Place { config, context, request_id, .. } = *self.place;
        let manifest = client::manifest(video, config, platform::now_ms(), request_id).await?;
        let owner = manifest.map(|manifest| manifest.owner);
        PRIVATE.with_borrow_mut(|private| private.note(video, KNOWN_PRIVATE_MS, platform::now_ms()));
        if let Some(owner) = &owner {
            let headers = vec![("cache-control", NOTE_CONTROL.to_owned()), (OWNER, owner.to_string())];
            platform::wait_until(context, async move {
                platform::cache_put(&note(config, video), headers, Bytes::new()).await;
            });
        }
        self.admit(owner.as_ref()).await
    }

    /// The owner needs no token.
    async fn admit(&mut self, owner: Option<&Owner>) -> Result<(), Problem> {
        let caller = authenticate::caller(self.request, None, self.place.config, self.place.request_id).await;
        if caller.is_ok_and(|caller| Some(&caller.owner) == owner) {
            self.grant = Some(Grant::Owner);
            return Ok(());
        }
        Err(no_grant())
    }

    /// Gives the answer to a private picture the headers that keep it so.
    pub(super) fn dress(&self, mut reply: Reply) -> Reply {
        let Some(grant) = self.private() else { return reply };
        let public = reply.headers.iter().find(|(name, _)| *name == "cache-control");
        if let Some(public) = public.map(|(_, value)| value.clone()).filter(|value| value != "no-store") {
            reply.replace("cache-control", &grant.cache_control(&public, platform::now_ms()));
        }
        if *grant == Grant::Owner {
            // It was opened by a cookie: no page of another site may look at it.
            reply.headers.retain(|(name, _)| *name != "access-control-allow-origin");
            reply.replace("cross-origin-resource-policy", "same-site");
        }
        reply
    }
}
