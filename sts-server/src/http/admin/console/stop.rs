//! How to stop an agent, a user, a tenant, a transaction or a token, and what is stopped.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use sts_protocol::Form;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::{self, Frame, posted};
use crate::admin::{Denied, Named, Reached, RevokeRequest, StandingRevocation, Wrong};
use crate::config::Role;
use crate::document::FieldFault;

/// The page, and the path to return to after a change.
const PATH: &str = "/console/stop";

/// The kinds of what can be stopped, and their names on the page.
const KINDS: [(&str, &str); 6] = [
    ("agent", "Agent"),
    ("owner", "All agents of an owner"),
    ("sub", "User"),
    ("tenant", "Tenant"),
    ("txn", "Transaction (txn)"),
    ("jti", "Token (jti)"),
];

#[derive(Template)]
#[template(path = "console/stop.html")]
struct Stop {
    frame: Frame,
    kinds: [(&'static str, &'static str); 6],
    kind: String,
    name: String,
    issuer: String,
    hold: bool,
    reached: Option<Reached>,
    standing: Vec<Standing>,
}

/// A revocation in force.
struct Standing {
    kind: &'static str,
    name: String,
    issuer: String,
    at: String,
    until: String,
    hold: bool,
}

/// Shows what is stopped. With a name in the query, also what a revocation of it would reach.
pub(super) async fn ask(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let given =
            asked.query(&["kind", "name", "agent", "owner", "sub", "tenant", "txn", "jti", "issuer", "hold"])?;
        let direct = KINDS.into_iter().find_map(|(kind, _)| Some((kind, given.get(kind)?)));
        let (kind, name) = direct.unwrap_or((kind(&given), given.get("name").unwrap_or_default()));
        let (issuer, hold) = (given.get("issuer").unwrap_or_default(), given.get("hold").is_some());
        let reached = if name.is_empty() {
            None
        } else {
            // The count needs no read of the database: the snapshot has the agents of an owner.
            let each = named(kind, name, issuer, hold).each_in(&api.app.sts.snapshot().registry)?;
            let revocations: Vec<_> = requests(&api, &each)?.into_iter().map(|request| request.revocation).collect();
            Some(api.administration.reach(&revocations).await?)
        };
        let mut standing = api.administration.revocations().await?;
        standing.sort_by_key(|standing| std::cmp::Reverse(standing.at));
        let page = Stop {
            frame: Frame::new(&api, &asked),
            kinds: KINDS,
            kind: kind.to_owned(),
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            hold,
            reached,
            standing: standing.iter().map(shown).collect(),
        };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

/// Revokes what the form names, if the name was typed again.
pub(super) async fn stop(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let form = posted(&api, &asked)?;
        let name = form.get("name").unwrap_or_default();
        if form.get("confirm").map(str::trim) != Some(name) {
            let fault = FieldFault::of("confirm", "Type the name again, exactly, to confirm. Nothing was stopped.");
            return Err(Denied::Faults(vec![fault]).into());
        }
        let issuer = form.get("issuer").unwrap_or_default();
        let named = named(kind(&form), name, issuer, form.get("hold").is_some());
        api.administration.revoke_named(&named, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(page::see(PATH))
    };
    call::answer_as(Browser, api, request, (Role::Operator, Turn::None), act).await
}

/// Lifts the revocation that the form names.
pub(super) async fn lift(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let form = posted(&api, &asked)?;
        let (name, issuer) = (form.get("name").unwrap_or_default(), form.get("issuer").unwrap_or_default());
        let revocation = named(kind(&form), name, issuer, false).revocation(api.administration.issuer());
        if !api.administration.lift(&revocation.map_err(wrong)?, &asked.by).await? {
            return Err(Denied::NotFound.into());
        }
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(page::see(PATH))
    };
    call::answer_as(Browser, api, request, (Role::Operator, Turn::None), act).await
}

/// Returns the revocations of these objects.
fn requests(api: &AdminApi, each: &[Named]) -> Result<Vec<RevokeRequest>, Denied> {
    let requests = each.iter().map(|named| named.request(api.administration.issuer()));
    requests.collect::<Result<Vec<_>, _>>().map_err(wrong)
}

/// Returns the kind that a form names; an agent, if it names none that is known.
fn kind(form: &Form) -> &'static str {
    let named = form.get("kind");
    KINDS.into_iter().find(|(kind, _)| Some(*kind) == named).map_or("agent", |(kind, _)| kind)
}

fn named(kind: &str, name: &str, issuer: &str, hold: bool) -> Named {
    let of = |wanted: &str| (kind == wanted).then(|| name.to_owned());
    Named {
        jti: of("jti"),
        txn: of("txn"),
        sub: of("sub"),
        agent: of("agent"),
        tenant: of("tenant"),
        owner: of("owner"),
        issuer: (!issuer.is_empty()).then(|| issuer.to_owned()),
        hold,
        unknown: false,
    }
}

fn wrong(wrong: Wrong) -> Denied {
    Denied::Faults(vec![FieldFault::of(wrong.parameter, wrong.message)])
}

fn shown(standing: &StandingRevocation) -> Standing {
    let (kind, name) = standing.name();
    Standing {
        kind,
        name: name.to_owned(),
        issuer: standing.issuer.clone().unwrap_or_default(),
        at: standing.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        until: standing.expires_at.map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default(),
        hold: standing.hold,
    }
}
