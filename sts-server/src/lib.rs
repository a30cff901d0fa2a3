#![doc = "A security token service for chains of agents."]

pub mod storage;
