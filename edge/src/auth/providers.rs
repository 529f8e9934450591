//! Tests that tokens of known identity providers are accepted with the settings of docs/identity-providers.md. Ids and
//! names are invented, members and types are those of the providers.

use glimpse_contract::Json;

use super::{Claims, ExpectedClaims, TokenError};

const NOW_MS: u64 = 1_700_000_000_000;

/// An access token of an API client: provider, `JWT_ISSUER`, `JWT_AUDIENCE`, claims.
const ACCESS_TOKENS: &[(&str, &str, &str, &str)] = &[
    (
        "Auth0",
        "https://acme.eu.auth0.com/",
        "https://video.example.com",
        r#"{"iss":"https://acme.eu.auth0.com/","sub":"auth0|6543210987654321fedcba98",
        "aud":["https://video.example.com","https://acme.eu.auth0.com/userinfo"],"iat":1699999000,"exp":1700086400,
        "scope":"openid profile email","azp":"xT9Zb1aCkQ4sWm2eR7uYp0oLhG5dFvNj","permissions":["upload:videos"],
        "https://acme.example/roles":[{"name":"editor"}]}"#,
    ),
    (
        "Microsoft Entra",
        "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0",
        "00001111-aaaa-2222-bbbb-3333cccc4444",
        r#"{"aud":"00001111-aaaa-2222-bbbb-3333cccc4444",
        "iss":"https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0","iat":1699999000,
        "nbf":1699999000,"exp":1700004000,"aio":"AYQAe/8VAAAA","azp":"11112222-bbbb-3333-cccc-4444dddd5555","azpacr":"0",
        "groups":["22223333-cccc-4444-dddd-5555eeee6666","33334444-dddd-5555-eeee-6666ffff7777"],"name":"Alice Example",
        "oid":"aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb","preferred_username":"alice@example.com","rh":"0.AX8A","roles":[],
        "scp":"access_as_user","sid":"00aa00aa-bb11-cc22-dd33-44ee44ee44ee","sub":"K4SGMfR7hVZ2j8qTq0p6wK7k5m0e8vN1cY3uXbT9dLo",
        "tid":"aaaabbbb-0000-cccc-1111-dddd2222eeee","uti":"AbCdEfGhIjKlMnOpQrStUv","ver":"2.0","wids":[],
        "xms_ftd":"x"}"#,
    ),
    (
        "Okta",
        "https://acme.okta.com/oauth2/default",
        "api://default",
        r#"{"ver":1,"jti":"AT.MNAoEQ_jbKqoinrQo1D0XKjMX28U5d7ZszBceot7-Ts","iss":"https://acme.okta.com/oauth2/default",
        "aud":"api://default","sub":"alice@example.com","iat":1699999000,"exp":1700003600,"cid":"0oa1b2c3d4e5f6g7h8i9",
        "uid":"00u1b2c3d4e5f6g7h8i9","scp":["openid","profile","email"],"auth_time":1699998990,"groups":["Everyone"]}"#,
    ),
    (
        "Keycloak",
        "https://id.example.com/realms/acme",
        "glimpse",
        r#"{"exp":1700000300,"iat":1699999990,"auth_time":1699999900,"jti":"onrtac:0d1c7a0c-6d0f-4b8e-9a36-1d2c3b4a5f60",
        "iss":"https://id.example.com/realms/acme","aud":["glimpse","account"],"sub":"7f2f3a8c-3b1e-4a57-8f7e-0c9d8e7f6a5b",
        "typ":"Bearer","azp":"web-app","sid":"e1d2c3b4-a596-4877-8695-a4b3c2d1e0f9","acr":"1",
        "allowed-origins":["https://app.example.com"],"realm_access":{"roles":["offline_access","uma_authorization"]},
        "resource_access":{"account":{"roles":["manage-account","view-profile"]}},"scope":"openid profile email",
        "email_verified":true,"name":"Alice Example","preferred_username":"alice","email":"alice@example.com"}"#,
    ),
    (
        "Amazon Cognito",
        "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
        "1example23456789",
        r#"{"sub":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee","device_key":"eu-central-1_aaaaaaaa","cognito:groups":["admin"],
        "iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI","version":2,
        "client_id":"1example23456789","origin_jti":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "event_id":"bbbbbbbb-cccc-dddd-eeee-ffffffffffff","token_use":"access","scope":"openid profile email",
        "auth_time":1699999000,"exp":1700003600,"iat":1699999000,"jti":"cccccccc-dddd-eeee-ffff-000000000000",
        "username":"alice"}"#,
    ),
    (
        "Clerk",
        "https://clerk.example.com",
        "https://app.example.com, https://www.example.com",
        r#"{"azp":"https://app.example.com","exp":1700000060,"fva":[7,-1],"iat":1699999995,"iss":"https://clerk.example.com",
        "jti":"a1b2c3d4e5f60718293a","nbf":1699999985,"sid":"sess_2abcDEFghiJKLmnoPQRstuVWXyz","sts":"active",
        "sub":"user_2abcDEFghiJKLmnoPQRstuVWXyz","v":2,"pla":"u:free","fea":"","o":{"id":"org_2abc","rol":"admin","slg":"acme"}}"#,
    ),
    (
        "Supabase",
        "https://abcdefghijklmnopqrst.supabase.co/auth/v1",
        "authenticated",
        r#"{"iss":"https://abcdefghijklmnopqrst.supabase.co/auth/v1","sub":"d0f1e2c3-b4a5-4968-8778-695a4b3c2d1e",
        "aud":"authenticated","exp":1700003600,"iat":1699999999,"email":"alice@example.com","phone":"",
        "app_metadata":{"provider":"email","providers":["email"]},"user_metadata":{"email_verified":true},
        "role":"authenticated","aal":"aal1","amr":[{"method":"password","timestamp":1699999000}],
        "session_id":"e0f1e2c3-b4a5-4968-8778-695a4b3c2d1e","is_anonymous":false}"#,
    ),
    (
        "Firebase",
        "https://securetoken.google.com/acme-video",
        "acme-video",
        r#"{"name":"Alice Example","picture":"https://example.com/a.png","iss":"https://securetoken.google.com/acme-video",
        "aud":"acme-video","auth_time":1699999000,"user_id":"xY7zQ2bC9dE4fG6hJ8kL1mN3pR5s",
        "sub":"xY7zQ2bC9dE4fG6hJ8kL1mN3pR5s","iat":1699999000,"exp":1700002600,"email":"alice@example.com",
        "email_verified":true,"firebase":{"identities":{"google.com":["113254678901234567890"],
        "email":["alice@example.com"]},"sign_in_provider":"google.com"}}"#,
    ),
    (
        "Google",
        "https://accounts.google.com",
        "1234567890-abc.apps.googleusercontent.com",
        r#"{"iss":"https://accounts.google.com","azp":"1234567890-android.apps.googleusercontent.com",
        "aud":"1234567890-abc.apps.googleusercontent.com","sub":"113254678901234567890","hd":"example.com",
        "email":"alice@example.com","email_verified":true,"at_hash":"HK6E_P6Dh8Y93mRNtsDB1Q","name":"Alice Example",
        "picture":"https://lh3.googleusercontent.com/a/x","given_name":"Alice","family_name":"Example","iat":1699999000,
        "exp":1700002600,"jti":"abc161fcsdf"}"#,
    ),
];

fn parse(claims: &str) -> Claims {
    Claims::from_json(&Json::parse(claims.as_bytes()).unwrap()).unwrap()
}

fn audiences(list: &str) -> Vec<String> {
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn accepts_tokens_of_known_providers() {
    for (provider, issuer, audience, claims) in ACCESS_TOKENS {
        let claims = parse(claims);
        assert_eq!(claims.check_bearer(issuer, &audiences(audience), NOW_MS), Ok(()), "{provider}");
        let other = ["https://another-api.example".to_owned()];
        assert_eq!(
            claims.check_bearer(issuer, &other, NOW_MS),
            Err(TokenError::WrongIssuerOrAudience),
            "{provider}"
        );
        assert_eq!(
            claims.check_bearer("https://another.example", &audiences(audience), NOW_MS),
            Err(TokenError::WrongIssuerOrAudience),
            "{provider}"
        );
    }
}

/// Row J6 of the threat model: tokens of the same account that were issued for another purpose.
#[test]
fn rejects_tokens_for_another_api() {
    let check = |provider: &str, from: &str, to: &str| {
        let (_, issuer, audience, claims) =
            ACCESS_TOKENS.iter().find(|(name, ..)| *name == provider).unwrap();
        let changed = claims.replacen(from, to, 1);
        assert_ne!(changed, *claims, "{provider}: the claims do not contain {from}");
        parse(&changed).check_bearer(issuer, &audiences(audience), NOW_MS)
    };
    for (provider, from, to) in [
        // An access token that was issued to the same client for another API of the same tenant.
        ("Auth0", r#""aud":["https://video.example.com","#, r#""aud":["https://other.example.com","#),
        (
            "Microsoft Entra",
            r#""aud":"00001111-aaaa-2222-bbbb-3333cccc4444""#,
            r#""aud":"00000003-0000-0000-c000-000000000000""#,
        ),
        ("Keycloak", r#""aud":["glimpse","account"]"#, r#""aud":"account""#),
        ("Keycloak", r#""aud":["glimpse","account"],"#, ""),
        ("Amazon Cognito", r#""client_id":"1example23456789""#, r#""client_id":"another client""#),
        ("Amazon Cognito", r#""token_use":"access""#, r#""token_use":"id""#),
        ("Amazon Cognito", r#""version":2"#, r#""version":2,"aud":"https://other.example.com""#),
        ("Clerk", r#""azp":"https://app.example.com""#, r#""azp":"https://evil.example.com""#),
        ("Clerk", r#""azp":"https://app.example.com","#, ""),
        ("Clerk", r#""v":2"#, r#""v":2,"aud":"convex""#),
    ] {
        assert_eq!(
            check(provider, from, to),
            Err(TokenError::WrongIssuerOrAudience),
            "{provider}: {from} -> {to}"
        );
    }
}

/// Row J6 of the threat model: other keys and tokens that the providers issue besides session tokens of users.
#[test]
fn rejects_tokens_that_are_not_session_tokens() {
    let supabase = "https://abcdefghijklmnopqrst.supabase.co/auth/v1";
    let (firebase, project) = ("https://securetoken.google.com/acme-video", "acme-video");
    for (token, issuer, audience, claims) in [
        (
            "Supabase anon key",
            supabase,
            "authenticated",
            r#"{"iss":"supabase","ref":"abcdefghijklmnopqrst","role":"anon","iat":1699999000,"exp":2015575000}"#,
        ),
        (
            "Supabase service_role key",
            supabase,
            "authenticated",
            r#"{"iss":"supabase","ref":"abcdefghijklmnopqrst","role":"service_role","iat":1699999000,"exp":2015575000}"#,
        ),
        (
            "Firebase custom token",
            firebase,
            project,
            r#"{"aud":"https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit",
            "iss":"a@acme-video.iam.gserviceaccount.com","sub":"a@acme-video.iam.gserviceaccount.com","iat":1699999000,
            "exp":1700002600,"uid":"xY7zQ2bC9dE4fG6hJ8kL1mN3pR5s"}"#,
        ),
        (
            "Firebase session cookie",
            firebase,
            project,
            r#"{"iss":"https://session.firebase.google.com/acme-video","aud":"acme-video","auth_time":1699999000,
            "sub":"xY7zQ2bC9dE4fG6hJ8kL1mN3pR5s","iat":1699999000,"exp":1700431000}"#,
        ),
    ] {
        let result = Claims::from_json(&Json::parse(claims.as_bytes()).unwrap())
            .and_then(|claims| claims.check_bearer(issuer, &audiences(audience), NOW_MS));
        assert!(
            matches!(result, Err(TokenError::WrongIssuerOrAudience | TokenError::Malformed)),
            "{token}: {result:?}"
        );
    }
}

/// docs/identity-providers.md states this: an OAuth server on Supabase can give its clients another audience.
#[test]
fn supabase_oauth_client_token_is_checked_by_aud() {
    let (_, issuer, audience, claims) = ACCESS_TOKENS.iter().find(|(name, ..)| *name == "Supabase").unwrap();
    let client = r#""client_id":"9a8b7c6d-5e4f-3a2b-1c0d-9e8f7a6b5c4d","role":"#;
    let claims = claims.replacen(r#""role":"#, client, 1);
    let check = |claims: &str| parse(claims).check_bearer(issuer, &audiences(audience), NOW_MS);
    assert_eq!(check(&claims), Ok(()));
    let other = claims.replacen(r#""aud":"authenticated""#, r#""aud":"https://partner.example""#, 1);
    assert_ne!(other, claims);
    assert_eq!(check(&other), Err(TokenError::WrongIssuerOrAudience));
}

/// ID tokens as the token endpoint returns them at the end of a sign-in.
#[test]
fn accepts_id_tokens_of_known_providers() {
    for (provider, issuer, client_id, claims) in [
        (
            "Amazon Cognito",
            "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI",
            "1example23456789",
            r#"{"sub":"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee","cognito:groups":["admin"],"email_verified":true,
            "iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI","cognito:username":"alice",
            "nonce":"abcdefg","aud":"1example23456789","identities":[{"userId":"amzn1.account.X","primary":"true"}],
            "event_id":"x","token_use":"id","auth_time":1699999000,"exp":1700003600,"iat":1699999000,
            "email":"alice@example.com"}"#,
        ),
        (
            "Okta",
            "https://acme.okta.com/oauth2/default",
            "0oa1b2c3d4e5f6g7h8i9",
            r#"{"sub":"00u1b2c3d4e5f6g7h8i9","name":"Alice Example","email":"alice@example.com","ver":1,
            "iss":"https://acme.okta.com/oauth2/default","aud":"0oa1b2c3d4e5f6g7h8i9","iat":1699999000,"exp":1700003600,
            "jti":"ID.x","amr":["pwd"],"idp":"00o1","nonce":"abcdefg","preferred_username":"alice@example.com",
            "auth_time":1699998990,"at_hash":"x"}"#,
        ),
        (
            "Keycloak",
            "https://id.example.com/realms/acme",
            "glimpse",
            r#"{"exp":1700000300,"iat":1699999990,"auth_time":1699999900,"jti":"x","nonce":"abcdefg",
            "iss":"https://id.example.com/realms/acme","aud":"glimpse","sub":"7f2f3a8c-3b1e-4a57-8f7e-0c9d8e7f6a5b","typ":"ID",
            "azp":"glimpse","sid":"x","at_hash":"x","acr":"1","email_verified":true,"name":"Alice Example",
            "address":{},"email":"alice@example.com"}"#,
        ),
    ] {
        let claims = parse(claims);
        let expected = ExpectedClaims { issuer, audience: client_id };
        assert_eq!(claims.check(expected, NOW_MS), Ok(()), "{provider}");
        assert_eq!(claims.nonce.as_deref(), Some("abcdefg"), "{provider}");
        assert!(claims.azp.is_none_or(|party| party == client_id), "{provider}");
    }
}

/// The documentation lists the tested settings.
#[test]
fn docs_list_provider_settings() {
    let docs = include_str!("../../../docs/identity-providers.md");
    for (provider, issuer, ..) in ACCESS_TOKENS {
        let section = docs.split("\n## ").find(|section| section.starts_with(provider));
        let section =
            section.unwrap_or_else(|| panic!("docs/identity-providers.md has no section for {provider}"));
        assert!(section.contains("JWT_ISSUER") && section.contains("JWT_AUDIENCE"), "{provider}");
        let host = issuer.split('/').nth(2).unwrap().rsplit('.').take(2).collect::<Vec<_>>();
        let host = format!("{}.{}", host[1], host[0]);
        assert!(host == "example.com" || section.contains(&host), "{provider}: {host}");
    }
}
