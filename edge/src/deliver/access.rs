//! Decides nothing by itself: asks `proof` what a URL proves, and keeps private pictures apart from public ones.
//!
//! A private picture lies in the cache under a key that only a granted request looks up. Which videos are private is
//! noted beside, with their owners, so that nobody costs the bucket a request by asking without a token.

use bytes::Bytes;
use glimpse_contract::{Code, Owner, PictureRequest, Problem, VideoId};

use super::entry::{PRIVATE_FOLDER, place};
use super::handler::Place;
use super::original::hand_over;
use super::proof::{Carried, Grant, Proof, refused, take_apart};
use crate::auth::{DeliveryToken, ShortToken, TokenError, UnverifiedToken};
use crate::config::Config;
use crate::identify;
use crate::platform::{self, Request, Response};
use crate::reply::Reply;
use crate::storage;

/// The header of a note that names the video's owner.
const OWNER: &str = "x-glimpse-owner";
/// How long a note is kept. A video that is private stays so.
const NOTE_CONTROL: &str = "public, max-age=86400";

/// What the URL proves.
///
/// # Errors
/// A proof that is incomplete or does not hold.
pub(crate) async fn proof(query: Option<&str>, config: &Config) -> Result<Proof, Problem> {
    match take_apart(query.unwrap_or_default())? {
        Carried::Nothing => Ok(Proof::Nothing),
        Carried::Token(text) => {
            let token = verified(text, config).await.map_err(refused)?;
            Ok(Proof::Token(token, text.to_owned()))
        }
        Carried::Short([expires, key_id, signature], rest) => {
            Ok(Proof::Short(ShortToken::read(expires, key_id, signature).map_err(refused)?, rest))
        }
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
    proof.check_original(video, &config.delivery_keys, now_ms)?;
    let manifest = storage::manifest(video, config, now_ms, request_id).await?;
    let manifest = manifest.ok_or_else(|| Problem::new(Code::NotFound))?;
    hand_over(video, &manifest.owner, &request.method(), config, request_id).await
}

fn note(config: &Config, video: VideoId) -> String {
    format!("{}{PRIVATE_FOLDER}/{video}", config.public_url)
}

/// One request for a picture, and what it may see.
pub(super) struct Access<'a> {
    pub(super) request: &'a Request,
    pub(super) place: &'a Place<'a>,
    /// Whether the picture is a private one, as far as is known.
    pub(super) is_private: bool,
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
        let grant = proof.grant(wanted, &place.config.delivery_keys, platform::now_ms())?;
        Ok(Self { request, place, is_private: false, grant })
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

    /// The private picture out of the cache, or a 304 for one of these ETags. Only a granted request may ask.
    pub(super) async fn cached(
        &mut self,
        wanted: &PictureRequest,
        if_none_match: Option<&str>,
    ) -> Option<Response> {
        let stored =
            platform::cache_get_unless(&place(self.place.config, wanted, true), if_none_match).await?;
        self.is_private = true;
        Some(stored)
    }

    /// Lets the owner of a video in that is known to be private, and says whether it was one.
    ///
    /// # Errors
    /// `unauthorized`: it is somebody else.
    pub(super) async fn admit_by_note(&mut self, video: VideoId) -> Result<bool, Problem> {
        if self.is_granted() {
            return Ok(false);
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
        let manifest = storage::manifest(video, config, platform::now_ms(), request_id).await?;
        let owner = manifest.map(|manifest| manifest.owner);
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
        let caller = identify::caller(self.request, None, self.place.config).await;
        if caller.is_ok_and(|caller| Some(&caller.owner) == owner) {
            self.grant = Some(Grant::Owner);
            return Ok(());
        }
        let detail = "This video is private: its pictures need a token, or its owner's session.";
        Err(Problem::because(Code::Unauthorized, detail))
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
