//! The mapping of workloads to agents.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Agent, Workload};

/// The workloads of all agents, by issuer.
#[derive(Debug, Default)]
pub(super) struct Workloads(HashMap<String, OfIssuer>);

#[derive(Debug, Default)]
struct OfIssuer {
    /// By subject.
    exact: HashMap<String, WorkloadPlace>,
    /// Patterns of classes, the longest first.
    patterns: Vec<WorkloadPlace>,
}

/// A workload entry of an agent.
#[derive(Debug, Clone)]
struct WorkloadPlace {
    agent: Arc<Agent>,
    index: usize,
}

/// The agent that a workload authenticates as.
#[derive(Debug, Clone)]
pub struct WorkloadAgent {
    /// The agent. For a class, the instance.
    pub agent: Arc<Agent>,
    index: usize,
}

impl WorkloadAgent {
    /// Returns the entry that names the workload.
    #[must_use]
    pub fn entry(&self) -> Option<&Workload> {
        self.agent.auth.as_ref()?.workload.get(self.index)
    }
}

impl Workloads {
    pub(super) fn add(&mut self, agent: &Arc<Agent>) {
        for (index, workload) in agent.auth.iter().flat_map(|auth| &auth.workload).enumerate() {
            let of_issuer = self.0.entry(workload.issuer.clone()).or_default();
            let place = WorkloadPlace { agent: Arc::clone(agent), index };
            match (agent.class_prefix(), workload.pattern()) {
                (Some(_), Some(_)) => of_issuer.add_pattern(place),
                // An exact subject has no part that could name an instance.
                (Some(_), None) => {}
                (None, _) => drop(of_issuer.exact.insert(workload.subject.clone(), place)),
            }
        }
    }

    pub(super) fn find(&self, issuer: &str, subject: &str) -> Option<WorkloadAgent> {
        let of_issuer = self.0.get(issuer)?;
        if let Some(WorkloadPlace { agent, index }) = of_issuer.exact.get(subject) {
            return Some(WorkloadAgent { agent: Arc::clone(agent), index: *index });
        }
        let matched =
            |place: &WorkloadPlace| Some((place.agent.instance(place.workload()?.matched(subject)?)?, place.index));
        let (instance, index) = of_issuer.patterns.iter().find_map(matched)?;
        Some(WorkloadAgent { agent: Arc::new(instance), index })
    }
}

impl OfIssuer {
    fn add_pattern(&mut self, place: WorkloadPlace) {
        self.patterns.push(place);
        let length = |place: &WorkloadPlace| place.workload().map_or(0, |workload| workload.subject.len());
        self.patterns.sort_by_key(|place| std::cmp::Reverse(length(place)));
    }
}

impl WorkloadPlace {
    fn workload(&self) -> Option<&Workload> {
        self.agent.auth.as_ref()?.workload.get(self.index)
    }
}
