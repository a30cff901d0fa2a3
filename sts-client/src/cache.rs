//! Tokens that were exchanged, until they die.
