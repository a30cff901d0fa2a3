//! The rules of issuers.

use sts_jose::IssuerName;
use url::Url;

use super::context::Context;
use super::keys::{PlainHttp, check_key_set, check_key_url};
use crate::fault::Fault;
use crate::registry::located::{Located, Place};
use crate::registry::{Issuer, ScopesFrom, Tenants, has_placeholder};
use crate::storage::KEY_TEXT_BYTES;

pub(super) fn rules(context: &Context<'_>, issuer: &Located<Issuer>, faults: &mut Vec<Fault>) {
    identity(context, issuer, faults);
    names(issuer, faults);
    trust_domain(issuer, faults);
    key_sources(issuer, faults);
    urls(issuer, faults);
    claims(issuer, faults);
    tenants(issuer, faults);
}

fn identity(context: &Context<'_>, Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    if name.is_empty() {
        faults.push(place.error("issuer", "issuer is empty".to_owned()));
    }
    if name.len() > KEY_TEXT_BYTES {
        faults.push(place.error("issuer", format!("issuer is longer than {KEY_TEXT_BYTES} bytes")));
    }
    if name.chars().any(char::is_control) {
        faults.push(place.error("issuer", format!("issuer {name:?} contains a control character")));
    }
    if context.config.is_some_and(|config| IssuerName::new(name).is(&config.issuer)) {
        let fault = place.error("issuer", format!("issuer {name:?} is this service itself"));
        faults.push(fault.with_help("leave it out: its own tokens are trusted without an entry"));
    }
    let is_ours = |alias: &&String| context.config.is_some_and(|config| IssuerName::new(alias).is(&config.issuer));
    if let Some(alias) = entry.aliases.iter().find(is_ours) {
        let message = format!("alias {alias:?} of issuer {name:?} is this service itself");
        faults.push(
            place.error("aliases", message).with_help("leave it out: its own tokens are trusted without an entry"),
        );
    }
    if entry.subject_prefix.chars().any(char::is_control) {
        let message = format!("subject_prefix of issuer {name:?} contains a control character");
        faults.push(place.error("subject_prefix", message));
    }
}

/// Path segments that stand for several tenants. No token has an `iss` with such a segment.
const SHARED_SEGMENTS: [&str; 3] = ["common", "organizations", "consumers"];

/// Checks the name of the issuer and its aliases.
fn names(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let issuer = &entry.issuer;
    let aliases = (0..).zip(&entry.aliases).map(|(index, alias): (usize, _)| (format!("aliases[{index}]"), alias));
    for (path, name) in std::iter::once(("issuer".to_owned(), issuer)).chain(aliases) {
        let is_url = name.contains("://");
        if name.is_empty() || name.len() > KEY_TEXT_BYTES || name.chars().any(char::is_control) {
            if path != "issuer" {
                let message = format!(
                    "alias {name:?} of issuer {issuer:?}: 1 to {KEY_TEXT_BYTES} bytes without control characters"
                );
                faults.push(place.error(&path, message));
            }
            continue;
        }
        if let Some(segment) = name.split('/').find(|segment| is_url && SHARED_SEGMENTS.contains(segment)) {
            let message = format!("{name:?} is never the iss of a token: {segment:?} means several tenants");
            faults.push(
                place.warning(&path, message).with_help("write {tenantid} in its place, with tenant_claim = \"tid\""),
            );
        }
        if has_placeholder(name) {
            placeholder(entry, place, &path, name, faults);
        } else if name.contains(['{', '}']) {
            let message = format!("{name:?} is taken literally, with its braces: only {{tenantid}} is a placeholder");
            faults.push(place.warning(&path, message));
        }
    }
    if entry.aliases.iter().any(|alias| has_placeholder(alias)) && !has_placeholder(issuer) {
        let message = format!("an alias of issuer {issuer:?} has {{tenantid}}, and the issuer itself has not");
        faults.push(place.error("aliases", message).with_help("users of different tenants would be one principal"));
    }
    if has_placeholder(issuer) && entry.aliases.iter().any(|alias| !has_placeholder(alias)) {
        let message = format!("issuer {issuer:?} has {{tenantid}}, and an alias of it has not");
        faults.push(place.error("aliases", message).with_help("users of different tenants would be one principal"));
    }
}

fn placeholder(entry: &Issuer, place: &Place, path: &str, name: &str, faults: &mut Vec<Fault>) {
    let issuer = &entry.issuer;
    let is_segment = name.split('/').filter(|segment| *segment == "{tenantid}").count() == 1
        && name.matches("{tenantid}").count() == 1;
    if !is_segment {
        let message = format!("{{tenantid}} of {name:?} must be one whole segment of its path");
        faults.push(place.error(path, message));
    }
    if entry.tenant_claim.is_none() && place.reads(&["tenant_claim"]) {
        let message = format!("issuer {issuer:?} has {{tenantid}}, but no tenant_claim to compare it with");
        faults.push(place.error(path, message).with_help("say tenant_claim = \"tid\""));
    }
    if place.reads(&SOURCES) && given_sources(entry).is_empty() {
        let message = format!("issuer {issuer:?} has {{tenantid}}, so its keys cannot be discovered");
        faults.push(place.error("issuer", message).with_help("give jwks_uri, jwks or jwks_file"));
    }
}

/// Checks that the name of a SPIFFE trust domain is valid and that its subject is in `sub`. Other
/// issuers must have no bundle URL.
fn trust_domain(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    if name.starts_with("spiffe://") {
        if entry.trust_domain().is_none() {
            let message = format!("issuer {name:?} is not a SPIFFE trust domain, such as \"spiffe://shop.example\"");
            faults.push(place.error("issuer", message));
        }
        if !entry.subject_claim.is_claim("sub") {
            let message = format!("subject_claim of issuer {name:?}: a SPIFFE ID is always in sub");
            faults.push(place.error("subject_claim", message));
        }
        return;
    }
    for (key, given, other) in [
        ("bundle_uri", entry.bundle_uri.is_some(), "jwks_uri"),
        ("bundle_file", entry.bundle_file.is_some(), "jwks_file"),
    ] {
        if given {
            let fault = place.error(key, format!("{key} of issuer {name:?}, which is not a SPIFFE trust domain"));
            let help = format!("an issuer with a bundle is named \"spiffe://trust-domain\"; others have {other}");
            faults.push(fault.with_help(help));
        }
    }
}

/// The registry keys that set the source of the issuer's signing keys.
const SOURCES: [&str; 5] = ["jwks_uri", "jwks", "jwks_file", "bundle_uri", "bundle_file"];

/// Returns the names of the source keys that the entry sets.
fn given_sources(issuer: &Issuer) -> Vec<&'static str> {
    let sources = [
        ("jwks_uri", issuer.jwks_uri.is_some()),
        ("jwks", issuer.jwks.is_some()),
        ("jwks_file", issuer.jwks_file.is_some()),
        ("bundle_uri", issuer.bundle_uri.is_some()),
        ("bundle_file", issuer.bundle_file.is_some()),
    ];
    sources.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
}

fn key_sources(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    let sources = given_sources(entry);
    if let [first, second, ..] = sources.as_slice() {
        let message = format!("issuer {name:?} has both {first} and {second}");
        faults.push(
            place.error(second, message).with_help("keep one of jwks_uri, jwks and jwks_file, or none for discovery"),
        );
    }
    if let Some(jwks) = &entry.jwks {
        match check_key_set(jwks) {
            Err(reason) => faults.push(place.error("jwks", format!("jwks of issuer {name:?}: {reason}"))),
            Ok(lost) => faults
                .extend(lost.into_iter().map(|lost| place.warning("jwks", format!("jwks of issuer {name:?}: {lost}")))),
        }
    }
    if entry.algorithms.is_empty() && place.reads(&["algorithms"]) {
        let fault = place
            .error("algorithms", format!("algorithms of issuer {name:?} is empty: none of its tokens could verify"));
        faults.push(fault.with_help("leave it out for RS256, ES256 and EdDSA"));
    }
    let fetches = entry.jwks.is_none() && entry.jwks_file.is_none() && entry.bundle_file.is_none();
    for (key, file) in [("ca_file", &entry.ca_file), ("jwks_bearer_token_file", &entry.jwks_bearer_token_file)] {
        if file.is_some() && !fetches {
            let message = format!("{key} of issuer {name:?} has no effect: its keys are not fetched");
            faults.push(place.warning(key, message));
        }
    }
}

fn urls(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    let plain_http =
        if entry.allow_http || !place.reads(&["allow_http"]) { PlainHttp::Allowed } else { PlainHttp::LoopbackOnly };
    let http_help = |fault: Fault, url: &Url| match url.scheme() {
        "http" => fault.with_help("use https, or say allow_http = true"),
        _ => fault,
    };
    for (key, url) in [("jwks_uri", &entry.jwks_uri), ("bundle_uri", &entry.bundle_uri)] {
        if let Some(url) = url
            && let Err(reason) = check_key_url(url, plain_http)
        {
            let message = format!("{key} {:?} of issuer {name:?}: {reason}", url.as_str());
            faults.push(http_help(place.error(key, message), url));
        }
        if let Some(url) = url.as_ref().filter(|url| url.path().contains("/.well-known/openid-configuration")) {
            let message = format!("{key} {:?} of issuer {name:?} is a discovery document, not a key set", url.as_str());
            faults.push(place.warning(key, message).with_help("leave it out: the document is found automatically"));
        }
    }
    if name.ends_with("/.well-known/openid-configuration") {
        let message = format!("issuer {name:?} is the URL of a discovery document, which is never the iss of a token");
        faults.push(place.warning("issuer", message).with_help("write the issuer that the document names"));
    }
    match Url::parse(name).ok().filter(|url| matches!(url.scheme(), "http" | "https")) {
        Some(url) => {
            if let Err(reason) = check_key_url(&url, plain_http) {
                faults.push(http_help(place.error("issuer", format!("issuer {name:?}: {reason}")), &url));
            }
            let has_more = url.query().is_some() || url.fragment().is_some();
            if has_more && place.reads(&SOURCES) && given_sources(entry).is_empty() {
                let message = format!("issuer {name:?} has a query or fragment, so its keys cannot be discovered");
                faults.push(place.error("issuer", message).with_help("give jwks_uri, jwks or jwks_file"));
            }
        }
        None if !name.is_empty() && place.reads(&SOURCES) && given_sources(entry).is_empty() => {
            let message = format!("issuer {name:?} is not an http(s) URL, so its keys cannot be discovered");
            let help = match entry.trust_domain() {
                Some(_) => "give bundle_uri or bundle_file",
                None => "give jwks_uri, jwks or jwks_file",
            };
            faults.push(place.error("issuer", message).with_help(help));
        }
        None => {}
    }
}

fn claims(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    if entry.scope_claim.is_some() && entry.scopes_from == ScopesFrom::Delegation && place.reads(&["scopes_from"]) {
        let message = format!("scope_claim of issuer {name:?} has no effect without scopes_from = \"token\"");
        faults.push(place.error("scope_claim", message));
    }
    for (key, selectors) in [
        ("tenant_claim", entry.tenant_claim.as_ref()),
        ("roles_claim", Some(&entry.roles_claim)),
        ("subject_claim", Some(&entry.subject_claim)),
        ("scope_claim", entry.scope_claim.as_ref()),
        ("audience_claim", Some(&entry.audience_claim)),
    ] {
        for selector in selectors.iter().flat_map(|selectors| selectors.as_slice()) {
            faults.extend(dotted(place, key, name, &selector.to_string()));
        }
    }
}

/// Warns of a literal name with dots that was probably meant as a path. Claim names that are URLs
/// have dots too.
fn dotted(place: &Place, key: &str, issuer: &str, selector: &str) -> Option<Fault> {
    if selector.contains(['/', ':']) || !selector.contains('.') {
        return None;
    }
    let message = format!("{key} {selector:?} of issuer {issuer:?} is the literal name of a claim, not a path");
    let path = selector.replace('.', "/");
    Some(
        place
            .warning(key, message)
            .with_help(format!("write \"/{path}\" for the path, or \"/{selector}\" for the claim")),
    )
}

fn tenants(Located { entry, place }: &Located<Issuer>, faults: &mut Vec<Fault>) {
    let name = &entry.issuer;
    if entry.tenant.is_some() && entry.tenant_claim.is_some() {
        let message = format!("issuer {name:?} has both tenant and tenant_claim");
        faults.push(place.error("tenant_claim", message).with_help("keep one of them"));
    }
    // A row of the database does not tell which keys were written.
    let is_silent = place.line().is_some() && place.reads(&["tenants"]) && !place.says("tenants");
    if has_placeholder(name) && entry.tenants == Tenants::Any && is_silent {
        let message =
            format!("issuer {name:?} has {{tenantid}} and no tenants: every tenant of the provider is trusted");
        let fault = place.warning("issuer", message);
        faults.push(fault.with_help("list its tenants, or write tenants = [\"*\"] if every one is meant"));
    }
    match &entry.tenants {
        Tenants::Only(tenants) if tenants.is_empty() && place.reads(&["tenants"]) => {
            let fault =
                place.error("tenants", format!("tenants of issuer {name:?} is empty: all its tokens would be refused"));
            faults.push(fault.with_help("leave it out for every tenant"));
        }
        Tenants::Only(_)
            if entry.tenant.is_none()
                && entry.tenant_claim.is_none()
                && place.reads(&["tenant", "tenant_claim", "tenants"]) =>
        {
            let message =
                format!("tenants of issuer {name:?} are limited, but its tokens have no tenant: all are refused");
            faults.push(place.warning("tenants", message).with_help("say tenant_claim or tenant"));
        }
        tenants => {
            if let Some(tenant) = entry.tenant.as_ref().filter(|tenant| !tenants.contain(Some(tenant))) {
                let message = format!("tenant {:?} of issuer {name:?} is not among its tenants", tenant.as_str());
                faults.push(place.error("tenant", message));
            }
        }
    }
}
