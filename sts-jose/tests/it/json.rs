use sts_jose::JsonError;
use sts_jose::json::{MAX_DEPTH, parse_object};

fn nested(levels: usize) -> String {
    format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
}

#[test]
fn duplicate_members_are_refused_at_any_depth() {
    let rows = [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"é":1,"\u00e9":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"":1,"":2}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"{"x":[1,{"y":[{"a":1,"b":2,"a":3}]}]}"#,
    ];
    for row in rows {
        assert!(matches!(parse_object(row.as_bytes()), Err(JsonError::DuplicateMember)), "{row}");
    }
}

#[test]
fn one_name_in_two_objects_is_no_duplicate() {
    let parsed = parse_object(br#" {"a":{"a":[{"a":1},{"a":2}]},"A":1.5,"n":null,"t":true} "#).unwrap();
    assert_eq!(parsed.len(), 4);
    assert_eq!(parsed["a"]["a"][1]["a"], 2);
}

#[test]
fn nesting_is_bounded() {
    assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(matches!(parse_object(nested(MAX_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep)));
    assert!(matches!(parse_object(nested(8_000).as_bytes()), Err(JsonError::TooDeep)));
    assert!(matches!(parse_object("[".repeat(100_000).as_bytes()), Err(JsonError::TooDeep)));
}

#[test]
fn what_is_not_one_strict_object_is_refused() {
    let rows: [&[u8]; 16] = [
        b"",
        b"[]",
        b"\"a\"",
        b"null",
        b"1",
        b"{}{}",
        b"{} x",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\":NaN}",
        b"{\"a\":1e999}",
        b"{\"a\":01}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"\\udc00\":1}",
        b"{\"a\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
    ];
    for row in rows {
        assert!(parse_object(row).is_err(), "{}", String::from_utf8_lossy(row));
    }
}

#[test]
fn raw_control_characters_in_a_string_are_refused() {
    assert!(matches!(parse_object(b"{\"a\":\"x\ny\"}"), Err(JsonError::Syntax(_))));
}

#[test]
fn no_message_repeats_the_input() {
    for row in [r#"{"hunter2":1,"hunter2":1}"#, r#"{"a":hunter2}"#, r#"{"hunter2":}"#, r#"["hunter2"]"#] {
        let error = parse_object(row.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
