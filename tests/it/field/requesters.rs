//! Requesters as real clients are: how they authenticate, and what they send.
