//! Issuers as real identity providers are: where claims stand, how keys are published, which names an issuer has.
