//! What a client may and may not achieve with an affinity cookie.

use proptest::prelude::*;

use super::*;

const NOW_S: u32 = 1_900_000_000;

fn affinity() -> Affinity {
    Affinity::new(&Secret::of(&[7; 32]), false)
}

fn cookie(affinity: &Affinity, name: &str, issued_s: u32) -> String {
    let set = affinity.issue(affinity.tag(name), issued_s);
    set.split(';').next().expect("a first part").to_owned()
}

fn read(affinity: &Affinity, cookies: &[&str]) -> Result<Option<Pin>, Refusal> {
    affinity.read(cookies.iter().map(|cookie| cookie.as_bytes()), NOW_S)
}

#[test]
fn an_issued_cookie_pins() {
    let affinity = affinity();
    let cookie = cookie(&affinity, "node-1", NOW_S);
    let pin = read(&affinity, &[&format!("a=1; {cookie}; b=2")])
        .expect("accepted")
        .expect("a pin");
    assert_eq!(
        pin,
        Pin {
            tag: affinity.tag("node-1"),
            ageing: false
        }
    );
}

#[test]
fn the_cookie_has_its_attributes_and_names_nobody() {
    let affinity = affinity();
    let set = affinity.issue(affinity.tag("node-1"), NOW_S);
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let value = &set["affinity=".len().."affinity=".len() + COOKIE_LETTERS];
    let bytes = URL_SAFE_NO_PAD.decode(value).expect("base64url");
    assert!(!bytes.windows(4).any(|window| window == b"node"));
}

#[test]
fn two_balancers_with_one_key_agree_and_with_two_keys_do_not() {
    let cookie = cookie(&affinity(), "node-1", NOW_S);
    assert!(read(&affinity(), &[&cookie]).expect("accepted").is_some());
    let stranger = Affinity::new(&Secret::of(&[8; 32]), false);
    assert_eq!(read(&stranger, &[&cookie]), Err(Refusal::Forged));
    assert_ne!(stranger.tag("node-1"), affinity().tag("node-1"));
}

#[test]
fn a_pin_expires_and_is_renewed_in_its_second_half() {
    let affinity = affinity();
    let at_age = |age_s| read(&affinity, &[&cookie(&affinity, "node-1", NOW_S - age_s)]);
    assert!(at_age(LIFETIME_S / 2 - 1).is_ok_and(|pin| pin.is_some_and(|pin| !pin.ageing)));
    assert!(at_age(LIFETIME_S / 2).is_ok_and(|pin| pin.is_some_and(|pin| pin.ageing)));
    assert_eq!(at_age(LIFETIME_S), Err(Refusal::Expired));
    let from_the_future = cookie(&affinity, "node-1", NOW_S + CLOCK_SKEW_S + 1);
    assert_eq!(read(&affinity, &[&from_the_future]), Err(Refusal::Expired));
}

#[test]
fn behind_https_the_cookie_is_bound_to_the_host() {
    let affinity = Affinity::new(&Secret::of(&[7; 32]), true);
    let set = affinity.issue(affinity.tag("node-1"), NOW_S);
    assert!(set.starts_with("__Host-affinity="), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{set}"
    );
    let secure = set.split(';').next().expect("a first part");
    assert!(read(&affinity, &[secure]).is_ok_and(|pin| pin.is_some()));
    let plain = secure.replace("__Host-", "");
    assert_eq!(
        read(&affinity, &[&plain]),
        Ok(None),
        "anybody on the way could have set this one"
    );
    assert!(
        is_ours(secure.as_bytes()) && is_ours(plain.as_bytes()),
        "nodes see neither"
    );
}

#[test]
fn two_cookies_are_none() {
    let affinity = affinity();
    let cookie = cookie(&affinity, "node-1", NOW_S);
    assert_eq!(
        read(&affinity, &[&format!("{cookie}; {cookie}")]),
        Err(Refusal::Duplicated)
    );
    assert_eq!(
        read(&affinity, &[&cookie, &cookie]),
        Err(Refusal::Duplicated)
    );
}

#[test]
fn what_is_not_ours_is_malformed_or_not_seen() {
    let affinity = affinity();
    for value in [
        "affinity=",
        "affinity=abc",
        "affinity=%%%",
        &format!("affinity={}", "A".repeat(39)),
    ] {
        assert_eq!(
            read(&affinity, &[value]),
            Err(Refusal::Malformed),
            "{value}"
        );
    }
    assert_eq!(
        read(&affinity, &[&format!("affinity={}", "A".repeat(38))]),
        Err(Refusal::Forged)
    );
    for value in ["", "affinity", "Affinity=x", "xaffinity=x", "a=affinity=x"] {
        assert_eq!(read(&affinity, &[value]), Ok(None), "{value}");
    }
}

#[test]
fn stripping_leaves_the_others_byte_for_byte() {
    for (header, wanted) in [
        ("affinity=x", Some("")),
        ("affinity=x; a=1;  b = 2", Some("a=1;  b = 2")),
        ("a=1; affinity=x; b=2", Some("a=1; b=2")),
        ("a=1;affinity=x", Some("a=1")),
        ("a=1; affinity = x ;b=2", Some("a=1;b=2")),
        ("affinity=x; a=\"q\"; affinity=y", Some("a=\"q\"")),
        ("session-sticky=affinity", None),
        ("a=1; b; =c; affinityx=1; affinity", None),
        ("", None),
    ] {
        let rest = strip(header.as_bytes());
        assert_eq!(rest.as_deref(), wanted.map(str::as_bytes), "{header}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_cookies_never_pin(header in "[ -~]{0,200}", value in "[A-Za-z0-9_-]{38}") {
        let affinity = affinity();
        let pin = read(&affinity, &[&header]);
        prop_assert!(!matches!(pin, Ok(Some(_))), "{pin:?}");
        prop_assert_eq!(read(&affinity, &[&format!("affinity={value}")]).ok().flatten(), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = affinity().read([&bytes[..]].into_iter(), NOW_S);
        if let Some(rest) = strip(&bytes) {
            prop_assert_eq!(strip(&rest), None);
        }
    }

    #[test]
    fn one_changed_letter_is_a_forgery(index in 0..COOKIE_LETTERS, letter in "[A-Za-z0-9_-]") {
        let affinity = affinity();
        let good = cookie(&affinity, "node-1", NOW_S);
        let at = "affinity=".len() + index;
        let mut bad = good.clone();
        bad.replace_range(at..=at, &letter);
        prop_assume!(bad != good);
        prop_assert!(!matches!(read(&affinity, &[&bad]), Ok(Some(_))));
    }

    #[test]
    fn issued_cookies_always_pin(name in "[a-z0-9.:-]{1,40}", age_s in 0..LIFETIME_S) {
        let affinity = affinity();
        let pin = read(&affinity, &[&cookie(&affinity, &name, NOW_S - age_s)]);
        prop_assert_eq!(pin.ok().flatten().map(|pin| pin.tag), Some(affinity.tag(&name)));
    }
}
