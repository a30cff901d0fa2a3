//! The approvals: those that wait for a decision, and those that were decided.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::approvals::current;
use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::{self, Frame, posted};
use super::words::{href, path_with};
use crate::admin::Denied;
use crate::approval::{ApprovalAct, ApprovalList, ApprovalPage, SeenApproval};
use crate::config::Role;
use crate::document::FieldFault;

/// The page, and the path to return to after a decision.
const PATH: &str = "/console/approvals";
/// The most approvals of each list on the page.
const MOST: usize = 200;
/// The lists: name, title and approvals.
const LISTS: [(&str, &str, ApprovalList); 3] = [
    ("pending", "Waiting", ApprovalList::Pending),
    ("granted", "Granted", ApprovalList::Granted),
    ("closed", "Closed", ApprovalList::Closed),
];

#[derive(Template)]
#[template(path = "console/approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    lists: Vec<ShownList>,
}

/// A page of the approvals of one list, and the address of its next page.
struct ShownList {
    title: &'static str,
    rows: Vec<ApprovalRow>,
    next: Option<String>,
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

/// Shows the approvals: those that wait, the oldest first, then those that were decided. The next page of a
/// list has this list alone.
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let given = asked.query(&["list", "after"])?;
        let (alone, after) = (given.get("list"), given.get("after"));
        let frame = Frame::new(&api, &asked);
        let (approvals, now) = (current(&api).await?, api.app.sts.now());
        let may_decide = frame.role >= Role::Operator;
        let shown = LISTS.into_iter().filter(|(name, ..)| alone.is_none_or(|alone| alone == *name));
        let lists = shown.map(|(name, title, list)| {
            let page = approvals.page(list, after.filter(|_| alone.is_some()), MOST, now);
            ShownList::of((name, title), page, may_decide)
        });
        let lists = lists.collect();
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

impl ShownList {
    fn of((name, title): (&str, &'static str), page: ApprovalPage, may_decide: bool) -> Self {
        let next = page.next.map(|after| path_with(PATH, &[("list", name), ("after", &after)]));
        let rows = page.approvals.into_iter().map(|seen| ApprovalRow::of(seen, may_decide)).collect();
        Self { title, rows, next }
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
