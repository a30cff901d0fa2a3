//! The options of operators: their tokens, their issuer and the console.

use super::TokenTyp;
use super::admin::ADMIN_TOKEN;
use super::option::ConfigOption;
use super::values::{algorithm, check_url, not_empty, some_algorithm, word};
use crate::document::Shape;

const URL: Shape = Shape::Text(check_url);

/// The options of operators, a part of [`OPTIONS`](super::OPTIONS).
pub(super) const OPERATORS: &[ConfigOption] = &[
    ConfigOption {
        table: Some("admin"),
        key: "url",
        shape: URL,
        default: None,
        form: "an https URL without a path; http only for the loopback interface",
        doc: "The URL under which browsers reach the admin listener. Without it the console answers to localhost and to IP addresses alone, and offers no sign-in at `admin.oidc.issuer`.",
    },
    ConfigOption {
        table: Some("admin"),
        key: "tokens",
        shape: Shape::Tables(&ADMIN_TOKEN),
        default: None,
        form: "tables of name, role (reader, operator or admin) and hash; in the environment a JSON array of such objects",
        doc: "The bearer tokens of operators, who may use the admin API and the console: `sts-server admin token` makes one. Without them and without `admin.oidc.issuer` the admin API rejects every operator.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "issuer",
        shape: URL,
        default: None,
        form: "an https URL; http only for the loopback interface",
        doc: "The issuer whose access tokens name operators, byte for byte their iss.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "jwks_uri",
        shape: URL,
        default: None,
        form: "an https URL; http only for the loopback interface",
        doc: "The URL of its keys; without it they are found by discovery.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "ca_file",
        shape: Shape::Path,
        default: None,
        form: "a path",
        doc: "The certificates of the authority of that URL in PEM; without it those of the system. A changed file takes effect at the next fetch.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "algorithms",
        shape: Shape::TextsTogether(algorithm, some_algorithm),
        default: Some("RS256,ES256,EdDSA"),
        form: "asymmetric algorithms",
        doc: "The algorithms of its signatures.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "audience",
        shape: Shape::Text(not_empty),
        default: None,
        form: "one of the values of aud",
        doc: "The required audience of its tokens. Required with issuer.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "token_typ",
        shape: Shape::Text(|text| word::<TokenTyp>(text, "at+jwt or jwt")),
        default: Some("at+jwt"),
        form: "at+jwt or jwt",
        doc: "The typ of its access tokens. With jwt, tokens with the typ JWT or without typ are accepted too, unless they look like ID tokens.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "claim",
        shape: Shape::Text(not_empty),
        default: Some("roles"),
        form: "the claim's literal name",
        doc: "The claim that gives the role of an operator: an array, or a text of words.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "readers",
        shape: Shape::Texts(not_empty),
        default: None,
        form: "values of the claim",
        doc: "The values that grant reading and explanations.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "operators",
        shape: Shape::Texts(not_empty),
        default: None,
        form: "values of the claim",
        doc: "The values that also grant revoking, lifting, rotating keys and disabling entries.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "admins",
        shape: Shape::Texts(not_empty),
        default: None,
        form: "values of the claim",
        doc: "The values that also grant changing entries and revoking keys.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "client_id",
        shape: Shape::Text(not_empty),
        default: None,
        form: "the client's id at the issuer",
        doc: "The client of the console at the issuer. With it, operators sign in to the console there (authorization code with PKCE). Its redirect URI is admin.url with the path /console/sign-in/callback.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "client_secret_file",
        shape: Shape::Path,
        default: None,
        form: "a path",
        doc: "The file with the secret of that client, sent by client_secret_basic. Without it the client is a public one.",
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "scopes",
        shape: Shape::Texts(not_empty),
        default: Some("openid"),
        form: "scopes",
        doc: "The scopes that a sign-in to the console requests. The issuer must give an access token for the audience; an audience that is an https URL is also sent as resource (RFC 8707).",
    },
];
