//! What a client may and may not achieve with an affinity cookie.

use proptest::prelude::*;

use super::*;
use crate::config::SameSite;

const NOW_S: u32 = 1_900_000_000;

const LIFETIME_S: u32 = 1000;
const NAME: &str = "affinity-sticky";

fn plain_cookie() -> AffinityCookie {
    AffinityCookie {
        name: NAME.to_owned(),
        path: "/".to_owned(),
        same_site: SameSite::Lax,
        is_secure: false,
        lifetime_s: LIFETIME_S,
        is_persistent: false,
    }
}

fn affinity() -> Affinity {
    Affinity::new(&Secret::new(vec![7; 32]), &plain_cookie())
}

fn cookie(affinity: &Affinity, name: &str, issued_s: u32) -> String {
    let set = affinity.issue(affinity.tag(name), issued_s);
    set.split(';').next().expect("a first part").to_owned()
}

fn read(affinity: &Affinity, cookies: &[&str]) -> Pins {
    affinity.read(cookies.iter().map(|cookie| cookie.as_bytes()), NOW_S)
}

fn pins(affinity: &Affinity, cookies: &[&str]) -> Vec<Pin> {
    read(affinity, cookies).genuine().collect()
}

/// Why a single cookie was ignored.
fn refusal(affinity: &Affinity, cookie: &str) -> Option<CookieRefusal> {
    let read = read(affinity, &[cookie]);
    assert_eq!(read.genuine().next(), None);
    read.refused().next().map(|(reason, _)| reason)
}

fn ours() -> OurCookies {
    OurCookies::new([NAME, "Lb"].into_iter())
}

#[test]
fn an_issued_cookie_pins() {
    let affinity = affinity();
    let cookie = cookie(&affinity, "node-1", NOW_S);
    let pin = Pin {
        tag: affinity.tag("node-1"),
        ageing: false,
    };
    assert_eq!(pins(&affinity, &[&format!("a=1; {cookie}; b=2")]), [pin]);
}

#[test]
fn the_cookie_has_its_attributes_and_names_nobody() {
    let affinity = affinity();
    let set = affinity.issue(affinity.tag("node-1"), NOW_S);
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let value = &set[NAME.len() + 1..=NAME.len() + COOKIE_LETTERS];
    let bytes = URL_SAFE_NO_PAD.decode(value).expect("base64url");
    assert!(!bytes.windows(4).any(|window| window == b"node"));
}

#[test]
fn two_balancers_with_one_key_agree_and_with_two_keys_do_not() {
    let cookie = cookie(&affinity(), "node-1", NOW_S);
    assert_eq!(pins(&affinity(), &[&cookie]).len(), 1);
    let stranger = Affinity::new(&Secret::new(vec![8; 32]), &plain_cookie());
    assert_eq!(refusal(&stranger, &cookie), Some(CookieRefusal::Forged));
    assert_ne!(stranger.tag("node-1"), affinity().tag("node-1"));
}

#[test]
fn a_pin_expires_and_is_renewed_in_its_second_half() {
    let affinity = affinity();
    let at_age = |age_s| cookie(&affinity, "node-1", NOW_S - age_s);
    let is_ageing = |age_s| pins(&affinity, &[&at_age(age_s)])[0].ageing;
    assert!(!is_ageing(LIFETIME_S / 2 - 1) && is_ageing(LIFETIME_S / 2));
    assert!(is_ageing(LIFETIME_S - 1));
    assert_eq!(
        refusal(&affinity, &at_age(LIFETIME_S)),
        Some(CookieRefusal::Expired)
    );
    let from_the_future = cookie(&affinity, "node-1", NOW_S + CLOCK_SKEW_S + 1);
    assert_eq!(
        refusal(&affinity, &from_the_future),
        Some(CookieRefusal::Expired)
    );
}

#[test]
fn the_attributes_are_those_of_the_configuration() {
    let cookie = AffinityCookie {
        name: "__Host-lb".to_owned(),
        same_site: SameSite::None,
        is_secure: true,
        is_persistent: true,
        ..plain_cookie()
    };
    let affinity = Affinity::new(&Secret::new(vec![7; 32]), &cookie);
    let set = affinity.issue(affinity.tag("node-1"), NOW_S);
    let attributes = "; Max-Age=1000; Path=/; HttpOnly; SameSite=None; Secure";
    assert!(
        set.starts_with("__Host-lb=") && set.ends_with(attributes),
        "{set}"
    );
    assert_eq!(
        affinity.clear(),
        "__Host-lb=; Max-Age=0; Path=/; HttpOnly; SameSite=None; Secure"
    );
    let secure = set.split(';').next().expect("a first part");
    assert_eq!(pins(&affinity, &[secure]).len(), 1);
    let plain = secure.replace("__Host-", "");
    let read = read(&affinity, &[&plain]);
    assert_eq!(
        read,
        Pins::default(),
        "anybody on the way could have set this one"
    );
}

#[test]
fn of_several_cookies_the_genuine_ones_count_in_their_order() {
    let affinity = affinity();
    let (one, two) = (
        cookie(&affinity, "node-1", NOW_S),
        cookie(&affinity, "node-2", NOW_S),
    );
    let forged = format!("{NAME}={}", "A".repeat(38));
    let tags = |cookies: &[&str]| {
        let pins = pins(&affinity, cookies).into_iter();
        pins.map(|pin| pin.tag).collect::<Vec<_>>()
    };
    let wanted = [affinity.tag("node-1"), affinity.tag("node-2")];
    assert_eq!(
        tags(&[&format!("{NAME}=old; {one}; {forged}; {two}")]),
        wanted
    );
    assert_eq!(tags(&[&format!("{NAME}=old"), &one, &two]), wanted);
    // Cheap ones do not use up the places of those that cost something.
    let cheap = vec![format!("{NAME}=old"); 100].join("; ");
    assert_eq!(tags(&[&cheap, &one]), wanted[..1]);
    let dear = vec![forged.clone(); 7].join("; ");
    assert_eq!(tags(&[&dear, &one, &two]), wanted[..1]);
    let counts: Vec<_> = read(&affinity, &[&dear, &cheap, &one, &two])
        .refused()
        .collect();
    let wanted = [
        (CookieRefusal::Malformed, 100),
        (CookieRefusal::Forged, 7),
        (CookieRefusal::Surplus, 1),
    ];
    assert_eq!(counts, wanted);
}

#[test]
fn what_is_not_ours_is_malformed_or_not_seen() {
    let affinity = affinity();
    for value in ["", "abc", "%%%", &"A".repeat(39)] {
        let cookie = format!("{NAME}={value}");
        assert_eq!(
            refusal(&affinity, &cookie),
            Some(CookieRefusal::Malformed),
            "{value}"
        );
    }
    let forged = format!("{NAME}={}", "A".repeat(38));
    assert_eq!(refusal(&affinity, &forged), Some(CookieRefusal::Forged));
    for value in [
        "",
        NAME,
        "affinity=x",
        "Affinity-sticky=x",
        "affinity-stick=x",
        "a=affinity-sticky=x",
    ] {
        assert_eq!(read(&affinity, &[value]), Pins::default(), "{value}");
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
        ("affinity-jwt=x; a=1", Some("a=1")),
        (
            "__Host-affinity-sticky=x; __Secure-affinity=y; a=1",
            Some("a=1"),
        ),
        ("Lb=x; lb=1", Some("lb=1")),
        ("session-sticky=affinity", None),
        (
            "a=1; b; =c; affinityx=1; affinity; __Host-a=1; myaffinity-=1",
            None,
        ),
        ("", None),
    ] {
        let rest = ours().strip(header.as_bytes());
        assert_eq!(rest.as_deref(), wanted.map(str::as_bytes), "{header}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_cookies_never_pin(header in "[ -~]{0,200}", value in "[A-Za-z0-9_-]{38}") {
        let affinity = affinity();
        prop_assert!(pins(&affinity, &[&header]).is_empty());
        let cookie = format!("{NAME}={value}");
        prop_assert!(pins(&affinity, &[&cookie]).is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = affinity().read([&bytes[..]].into_iter(), NOW_S);
        if let Some(rest) = ours().strip(&bytes) {
            prop_assert_eq!(ours().strip(&rest), None);
        }
    }

    #[test]
    fn one_changed_letter_is_a_forgery(index in 0..COOKIE_LETTERS, letter in "[A-Za-z0-9_-]") {
        let affinity = affinity();
        let good = cookie(&affinity, "node-1", NOW_S);
        let at = NAME.len() + 1 + index;
        let mut bad = good.clone();
        bad.replace_range(at..=at, &letter);
        prop_assume!(bad != good);
        prop_assert!(pins(&affinity, &[&bad]).is_empty());
    }

    #[test]
    fn issued_cookies_always_pin(name in "[a-z0-9.:-]{1,40}", age_s in 0..LIFETIME_S) {
        let affinity = affinity();
        let pins = pins(&affinity, &[&cookie(&affinity, &name, NOW_S - age_s)]);
        prop_assert_eq!(pins[0].tag, affinity.tag(&name));
    }

    /// Whatever else a browser sends along, a genuine cookie behind fewer than eight others of its shape counts.
    #[test]
    fn other_cookies_lock_nobody_out(
        others in proptest::collection::vec("(affinity-sticky=[A-Za-z0-9_-]{38}|affinity-sticky=[ -:<-~]{0,9}|[a-z]{1,3}=x)", 0..8),
        place in 0..8_usize,
    ) {
        let affinity = affinity();
        let mut all = others;
        all.insert(place.min(all.len()), cookie(&affinity, "node-1", NOW_S));
        let pins = pins(&affinity, &[&all.join("; ")]);
        prop_assert_eq!(pins.len(), 1);
    }
}
