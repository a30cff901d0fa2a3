use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::{ClaimError, Claims, Slot, TimeError, json::parse_object};

fn claims(value: &Value) -> Claims {
    Claims::new(value.as_object().unwrap().clone())
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 0).unwrap()
}

#[test]
fn debug_shows_names_and_no_values() {
    let shown = format!("{:?}", claims(&json!({ "sub": "alice@example.com", "n": 42 })));
    assert!(shown.contains("sub") && shown.contains('n'));
    assert!(!shown.contains("alice") && !shown.contains("42"), "{shown}");
}

#[test]
fn a_string_claim_of_another_type_is_an_error_and_not_absent() {
    for value in [json!(1), json!(true), json!(["a"]), json!({})] {
        assert!(claims(&json!({ "sub": value })).string("sub").is_err(), "{value}");
    }
    assert_eq!(claims(&json!({ "sub": null })).string("sub"), Ok(None));
    assert_eq!(claims(&json!({ "sub": "a" })).string("sub"), Ok(Some("a")));
    assert_eq!(claims(&json!({ "sub": "" })).string("sub"), Ok(Some("")));
    assert_eq!(claims(&json!({})).string("sub"), Ok(None));
}

#[test]
fn numeric_dates_are_numbers_within_range() {
    for text in ["\"1\"", "true", "[1]", "{}"] {
        let parsed = Claims::new(parse_object(format!("{{\"exp\":{text}}}").as_bytes()).unwrap());
        assert!(matches!(parsed.numeric_date("exp"), Err(ClaimError::WrongType { .. })), "{text}");
    }
    for text in
        ["-1", "-0.5", "1e300", "18446744073709551615", "18446744073709551616", "9223372036854775808", "253402300800"]
    {
        let parsed = Claims::new(parse_object(format!("{{\"exp\":{text}}}").as_bytes()).unwrap());
        assert!(matches!(parsed.numeric_date("exp"), Err(ClaimError::OutOfRange { .. })), "{text}");
    }
    for (text, milliseconds) in
        [("0", 0), ("-0", 0), ("1.5", 1_500), ("1700000000", 1_700_000_000_000), ("1.7e9", 1_700_000_000_000)]
    {
        let parsed = Claims::new(parse_object(format!("{{\"exp\":{text}}}").as_bytes()).unwrap());
        assert_eq!(parsed.numeric_date("exp").unwrap().unwrap().as_millisecond(), milliseconds, "{text}");
    }
    assert_eq!(claims(&json!({})).numeric_date("exp"), Ok(None));
    assert_eq!(claims(&json!({ "exp": null })).numeric_date("exp"), Ok(None));
}

#[test]
fn audience_is_a_string_or_an_array_of_strings_that_are_not_empty() {
    for value in [json!(""), json!(["a", ""]), json!(["a", 1]), json!([["a"]]), json!(1), json!({ "a": 1 })] {
        assert!(claims(&json!({ "aud": value })).audience().is_err(), "{value}");
    }
    for nobody in [json!({}), json!({ "aud": null }), json!({ "aud": [] })] {
        assert_eq!(claims(&nobody).audience(), Ok(vec![]));
    }
    assert_eq!(claims(&json!({ "aud": "a" })).audience(), Ok(vec!["a"]));
    assert_eq!(claims(&json!({ "aud": ["a", "b"] })).audience(), Ok(vec!["a", "b"]));
}

#[test]
fn strings_take_a_string_or_an_array_of_strings() {
    assert_eq!(claims(&json!({ "roles": [] })).strings("roles"), Ok(Some(vec![])));
    assert_eq!(claims(&json!({ "roles": "a" })).strings("roles"), Ok(Some(vec!["a"])));
    assert_eq!(claims(&json!({})).strings("roles"), Ok(None));
    assert_eq!(claims(&json!({ "roles": null })).strings("roles"), Ok(None));
    for value in [json!([1]), json!(["a", null]), json!(false)] {
        assert!(claims(&json!({ "roles": value })).strings("roles").is_err(), "{value}");
    }
}

#[test]
fn exp_has_no_grace_and_iat_and_nbf_have_thirty_seconds() {
    let now = at(1_000);
    let rows = [
        (json!({ "exp": 1_001 }), None),
        (json!({ "exp": 1_000.5 }), None),
        (json!({ "exp": 1_000 }), Some(TimeError::Expired)),
        (json!({ "exp": 999.999 }), Some(TimeError::Expired)),
        (json!({ "iat": 1_000 }), Some(TimeError::ExpMissing)),
        (json!({ "exp": null }), Some(TimeError::ExpMissing)),
        (json!({ "exp": 2_000, "iat": null, "nbf": null }), None),
        (json!({ "exp": 2_000, "iat": 1_030, "nbf": 1_030 }), None),
        (json!({ "exp": 2_000, "iat": 1_030.001 }), Some(TimeError::IssuedInFuture)),
        (json!({ "exp": 2_000, "nbf": 1_031 }), Some(TimeError::NotYetValid)),
    ];
    for (value, refusal) in rows {
        assert_eq!(claims(&value).times(now).err(), refusal, "{value}");
    }
    for claim in ["exp", "iat", "nbf"] {
        for malformed in [json!("2000"), json!(true), json!(-1), json!([2_000])] {
            let mut value = json!({ "exp": 2_000, "iat": 1, "nbf": 1 });
            value[claim] = malformed;
            assert!(matches!(claims(&value).times(now), Err(TimeError::Claim(_))), "{value}");
        }
    }
}

#[test]
fn times_hold_at_the_end_of_time() {
    let times = claims(&json!({ "exp": 253_402_200_000_u64, "iat": 5 })).times(at(253_402_199_999)).unwrap();
    assert_eq!(times.iat, Some(at(5)));
    assert_eq!(times.exp.duration_until(at(253_402_200_001)).as_secs(), 1);
    assert_eq!(times.nbf, None);
    assert!(claims(&json!({ "exp": 1 })).times(at(0)).unwrap().exp > at(0) + Duration::from_millis(999));
}

#[test]
fn typ_is_compared_without_case_and_without_its_prefix() {
    for typ in [None, Some("JWT"), Some("jwt"), Some("AT+JWT"), Some("application/at+jwt"), Some("APPLICATION/JWT")] {
        assert!(Slot::AccessToken.accepts(typ), "{typ:?}");
    }
    for typ in [
        "",
        "application/",
        "logout+jwt",
        "at+jwt ",
        "application/application/jwt",
        "x/jwt",
        "dpop+jwt",
        "ＪＷＴ",
        "applicatiön/jwt",
    ] {
        assert!(!Slot::AccessToken.accepts(Some(typ)), "{typ:?}");
    }
    assert!(!Slot::IssuedToken.accepts(None));
}
