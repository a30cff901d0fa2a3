//! Who may call whom: the delegations as a graph, drawn as SVG.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;
use sts_protocol::Tenant;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::Frame;
use super::words::{RuleRow, href};
use crate::config::Role;
use crate::registry::{Delegation, Registry};

/// The maximum number of agents, and of delegations, that are drawn. The cost of the layout grows with
/// the layers that each arrow crosses.
const DRAWN: usize = 200;
const ARROWS: usize = 300;
/// The number of calls away from an agent that are drawn by default.
const HOPS: usize = 2;
/// The sizes in the drawing, in its own units.
const CHARACTER: f64 = 7.4;
const LABEL_CHARACTER: f64 = 5.6;
const BOX_HEIGHT: f64 = 30.0;
const MARGIN: f64 = 20.0;
const SPACING: f64 = 26.0;
/// The space between two layers, without the labels of their arrows.
const GAP: f64 = 50.0;
/// The maximum number of arrows that are labelled. Beyond, their titles and the table have the scopes.
const LABELLED: usize = 40;
/// The longest name and the longest label that are drawn whole.
const NAME_CHARS: usize = 28;
const LABEL_CHARS: usize = 20;

#[derive(Template)]
#[template(path = "console/graph.html")]
struct Graph {
    frame: Frame,
    agent: String,
    tenant: String,
    hops: usize,
    drawing: Option<Drawing>,
    rules: Vec<RuleRow>,
    left_out: usize,
}

struct Drawing {
    width: f64,
    height: f64,
    boxes: Vec<AgentBox>,
    arrows: Vec<Arrow>,
}

struct AgentBox {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    name: String,
    label: String,
    href: String,
    is_center: bool,
    is_disabled: bool,
}

struct Arrow {
    path: String,
    title: String,
    label: Option<ArrowLabel>,
    needs_approval: bool,
    is_bound: bool,
    is_disabled: bool,
}

/// The scopes of an arrow, in its middle.
struct ArrowLabel {
    x: f64,
    y: f64,
    text: String,
}

/// Draws the delegations: all, those of a tenant, or those around an agent.
pub(super) async fn graph(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let given = asked.query(&["agent", "tenant", "hops"])?;
        let agent = given.get("agent").unwrap_or_default().to_owned();
        let tenant = given.get("tenant").unwrap_or_default().to_owned();
        let hops = given.get("hops").and_then(|hops| hops.parse().ok()).unwrap_or(HOPS).min(8);
        let wanted = Tenant::new(&tenant).ok();
        let snapshot = api.app.sts.snapshot();
        let registry = &snapshot.registry;
        let is_wanted = |rule: &&Delegation| wanted.as_ref().is_none_or(|tenant| rule.tenants.contain(Some(tenant)));
        let rules: Vec<&Delegation> = if agent.is_empty() {
            registry.all_delegations().filter(is_wanted).collect()
        } else {
            let near = neighbourhood(registry, &agent, hops, &is_wanted);
            let rules = near.iter().flat_map(|agent| registry.calls_of(agent)).filter(is_wanted);
            rules.filter(|rule| near.contains(rule.target.as_str())).collect()
        };
        let (rules, left_out) = bounded(rules);
        let disabled: BTreeSet<String> =
            registry.agents().filter(|agent| agent.disabled).map(|agent| agent.id.clone()).collect();
        let rules: Vec<RuleRow> = rules.into_iter().map(|rule| RuleRow::of(rule, registry)).collect();
        let center = agent.clone();
        // The layout computes for milliseconds, which a worker of the requests must not.
        let drawn = tokio::task::spawn_blocking(move || {
            let drawing = (!rules.is_empty()).then(|| draw(&rules, &center, &disabled));
            (rules, drawing)
        });
        let (rules, drawing) = drawn.await.or(Err(Refused::Ended))?;
        let page = Graph { frame: Frame::new(&api, &asked), agent, tenant, hops, drawing, rules, left_out };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

/// Returns the agents that are at most so many wanted calls away, in either direction.
fn neighbourhood<'a>(
    registry: &'a Registry,
    center: &'a str,
    hops: usize,
    is_wanted: &impl Fn(&&Delegation) -> bool,
) -> HashSet<&'a str> {
    let (mut near, mut last) = (HashSet::from([center]), vec![center]);
    for _ in 0..hops {
        let calls = last.iter().flat_map(|agent| registry.calls_of(agent)).filter(is_wanted);
        let called = last.iter().flat_map(|agent| registry.calls_to(agent)).filter(is_wanted);
        let beside = calls.map(|rule| rule.target.as_str()).chain(called.map(|rule| rule.actor.as_str()));
        last = beside.filter(|&agent| near.insert(agent)).collect();
    }
    near
}

/// Returns as many rules as are drawn, the first by id, and the number of the others.
fn bounded(mut rules: Vec<&Delegation>) -> (Vec<&Delegation>, usize) {
    let count = rules.len();
    if count > ARROWS {
        rules.select_nth_unstable_by(ARROWS, |left, right| left.id.cmp(&right.id));
        rules.truncate(ARROWS);
    }
    rules.sort_unstable_by(|left, right| left.id.cmp(&right.id));
    let mut agents = HashSet::new();
    rules.retain(|rule| {
        let new =
            [rule.actor.as_str(), rule.target.as_str()].into_iter().filter(|agent| !agents.contains(agent)).count();
        let is_drawn = agents.len() + new <= DRAWN;
        if is_drawn {
            agents.extend([rule.actor.as_str(), rule.target.as_str()]);
        }
        is_drawn
    });
    let left_out = count.saturating_sub(rules.len());
    (rules, left_out)
}

/// Lays the agents out in layers from left to right, and draws them.
fn draw(rules: &[RuleRow], center: &str, disabled: &BTreeSet<String>) -> Drawing {
    let names: BTreeSet<&str> = rules.iter().flat_map(|rule| [rule.actor.as_str(), rule.target.as_str()]).collect();
    let numbers: BTreeMap<&str, u32> = names.iter().copied().zip(0..).collect();
    let number = |name: &str| numbers.get(name).copied().unwrap_or_default();
    let is_labelled = rules.len() <= LABELLED;
    let longest = rules.iter().map(|rule| arrow_label(rule).chars().count()).max().unwrap_or_default();
    let longest = f64::from(u32::try_from(longest).unwrap_or_default());
    let gap = if is_labelled { longest.mul_add(LABEL_CHARACTER, GAP) } else { GAP };
    // The layout goes from top to bottom, so width and height are exchanged.
    let vertices: Vec<(u32, (f64, f64))> =
        numbers.iter().map(|(name, number)| (*number, (BOX_HEIGHT, width(name) + gap))).collect();
    let edges: BTreeSet<(u32, u32)> = rules
        .iter()
        .filter(|rule| rule.actor != rule.target)
        .map(|rule| (number(&rule.actor), number(&rule.target)))
        .collect();
    let edges: Vec<(u32, u32)> = edges.into_iter().collect();
    let config = Config { vertex_spacing: SPACING, transpose: false, ..Config::default() };
    let mut places: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    let (mut width_of_all, mut offset) = (0.0_f64, MARGIN);
    // Parts that no delegation connects stand below each other.
    for (part, _, _) in from_vertices_and_edges(&vertices, &edges, &config) {
        let least = |pick: fn(&(f64, f64)) -> f64| part.iter().map(|(_, place)| pick(place)).fold(f64::MAX, f64::min);
        let (left, top) = (least(|place| place.1), least(|place| place.0));
        let mut bottom = offset;
        for (vertex, (y, x)) in &part {
            let vertex = u32::try_from(*vertex).unwrap_or_default();
            let place = (x - left + MARGIN, y - top + offset);
            bottom = bottom.max(place.1);
            places.insert(vertex, place);
        }
        offset = bottom + BOX_HEIGHT + SPACING;
    }
    let place = |name: &str| places.get(&number(name)).copied().unwrap_or_default();
    let boxes: Vec<AgentBox> = names
        .iter()
        .map(|name| {
            let (x, y) = place(name);
            let width = width(name);
            width_of_all = width_of_all.max(x + width);
            AgentBox {
                x,
                y,
                width,
                height: BOX_HEIGHT,
                label: label(name),
                href: href("agents", name),
                is_center: *name == center,
                is_disabled: disabled.contains(*name),
                name: (*name).to_owned(),
            }
        })
        .collect();
    let arrows = rules.iter().map(|rule| {
        let (from, to) = (place(&rule.actor), place(&rule.target));
        let (x1, y1) = (from.0 + width(&rule.actor), from.1 + BOX_HEIGHT / 2.0);
        let (x2, y2) = (to.0, to.1 + BOX_HEIGHT / 2.0);
        let approval =
            if rule.approval.is_empty() { String::new() } else { format!("; approval by {}", rule.approval) };
        let text = arrow_label(rule);
        Arrow {
            path: curve((x1, y1), (x2, y2)),
            title: format!(
                "{} may call {}: {}{approval}; bound to: {}",
                rule.actor, rule.target, rule.scopes, rule.binding
            ),
            needs_approval: !rule.approval.is_empty(),
            is_bound: rule.is_bound,
            label: is_labelled.then(|| ArrowLabel { x: f64::midpoint(x1, x2), y: f64::midpoint(y1, y2) - 5.0, text }),
            is_disabled: rule.is_disabled,
        }
    });
    Drawing { width: width_of_all + MARGIN, height: offset, arrows: arrows.collect(), boxes }
}

/// Returns the label of an arrow: its scopes, and whether it needs an approval or a key.
fn arrow_label(rule: &RuleRow) -> String {
    let marks = [(!rule.approval.is_empty(), " + approval"), (rule.is_bound, " + key")];
    let marks: String = marks.into_iter().filter_map(|(is_so, mark)| is_so.then_some(mark)).collect();
    format!("{}{marks}", shortened(&rule.scopes, LABEL_CHARS))
}

/// Returns a curve from the right side of a box to the left side of another.
fn curve((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    let bend = ((x2 - x1).abs() / 2.0).max(30.0);
    format!("M{x1:.0} {y1:.0}C{:.0} {y1:.0} {:.0} {y2:.0} {x2:.0} {y2:.0}", x1 + bend, x2 - bend)
}

fn label(name: &str) -> String {
    shortened(name, NAME_CHARS)
}

fn shortened(text: &str, chars: usize) -> String {
    let mut shortened: String = text.chars().take(chars).collect();
    if text.chars().count() > chars {
        shortened.push('…');
    }
    shortened
}

fn width(name: &str) -> f64 {
    let chars = u32::try_from(label(name).chars().count()).unwrap_or_default();
    f64::from(chars).mul_add(CHARACTER, 20.0)
}
