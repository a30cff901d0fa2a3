//! The approvals: those that wait for a decision, and those that were decided.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::{self, Frame, posted};
use super::words::href;
use crate::admin::Denied;
use crate::approval::{ApprovalAct, SeenApproval};
use crate::config::Role;
use crate::document::FieldFault;

/// The page, and the path to return to after a decision.
const PATH: &str = "/console/approvals";
/// The most approvals of each list on the page.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "console/approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    lists: [ApprovalList; 3],
}

/// The approvals of one state, and how many more there are.
struct ApprovalList {
    title: &'static str,
    rows: Vec<ApprovalRow>,
    more: usize,
}

/// An approval, in full: persons see everything that is bound.
struct ApprovalRow {
    seen: SeenApproval,
    href: String,
    chain: String,
    details: Vec<String>,
    requested_at: String,
    expires_at: String,
    may_grant: bool,
    may_withdraw: bool,
}

/// Shows the approvals: those that wait, the oldest first, then those that were decided.
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let frame = Frame::new(&api, &asked);
        let rows = api.administration.approvals().await?;
        let may_decide = frame.role >= Role::Operator;
        let (mut waiting, mut granted, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        for seen in rows {
            let list = match &*seen.state {
                "pending" => &mut waiting,
                "granted" => &mut granted,
                _ => &mut closed,
            };
            list.push(ApprovalRow::of(seen, may_decide));
        }
        // The last closed approval comes first.
        closed.reverse();
        let lists = [("Waiting", waiting), ("Granted", granted), ("Closed", closed)];
        let lists = lists.map(|(title, rows)| ApprovalList::of(title, rows));
        Ok::<_, Refused>(answer::page(&ApprovalsPage { frame, lists }))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

/// Grants, denies or withdraws an approval.
pub(super) async fn decide(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let form = posted(&api, &asked)?;
        let act = match form.get("decision") {
            Some("grant") => ApprovalAct::Grant,
            Some("deny") => ApprovalAct::Deny,
            Some("withdraw") => ApprovalAct::Withdraw,
            Some(_) | None => {
                let fault = FieldFault::of("decision", "must be grant, deny or withdraw. Nothing was decided.");
                return Err(Denied::Faults(vec![fault]).into());
            }
        };
        api.administration.decide_approval(&asked.id()?, act, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(page::see(PATH))
    };
    call::answer_as(Browser, api, request, (Role::Operator, Turn::Act), act).await
}

impl ApprovalList {
    fn of(title: &'static str, mut rows: Vec<ApprovalRow>) -> Self {
        let more = rows.len().saturating_sub(MOST);
        rows.truncate(MOST);
        Self { title, rows, more }
    }
}

impl ApprovalRow {
    fn of(seen: SeenApproval, may_decide: bool) -> Self {
        let is_open = matches!(&*seen.state, "pending" | "granted");
        Self {
            href: href("approvals", &seen.id),
            chain: seen.actors.join(" < "),
            details: seen
                .authorization_details
                .iter()
                .filter_map(|detail| serde_json::to_string(detail).ok())
                .collect(),
            requested_at: seen.requested_at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            expires_at: seen.expires_at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            may_grant: may_decide && seen.state == "pending" && seen.by == "operator",
            may_withdraw: may_decide && is_open,
            seen,
        }
    }
}
