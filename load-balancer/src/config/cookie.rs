//! The affinity cookie of a listener: its name and attributes, and which of them browsers would refuse.

use super::{
    error::{ConfigError, Source},
    file,
    settings::{AffinityCookie, COOKIE_FAMILY, HOST_PREFIX, Listener, SECURE_PREFIX, SameSite},
};

/// Checks what is given for one listener. Cookies ignore ports, so by default the name has the listener's in it.
pub(super) fn check(
    source: &Source<'_>,
    given: &file::Cookie,
    listener: &str,
    is_https: bool,
) -> Result<AffinityCookie, ConfigError> {
    let path = &given.path.get_ref().0;
    let name = match &given.name {
        Some(name) => name.get_ref().0.clone(),
        None if is_https => format!("{HOST_PREFIX}{COOKIE_FAMILY}-{listener}"),
        None => format!("{COOKIE_FAMILY}-{listener}"),
    };
    // Browsers compare these without regard to case.
    let begins_with = |guard: &str| {
        name.get(..guard.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(guard))
    };
    if (begins_with(HOST_PREFIX) || begins_with(SECURE_PREFIX)) && !is_https {
        let problem = format!(
            "browsers ignore a cookie called {name} that comes without TLS; choose another name, \
             or set behind_https = true if TLS ends in front of the balancer"
        );
        let span = given.name.as_ref().map_or(0..0, toml::Spanned::span);
        return Err(source.wrong(&span, problem));
    }
    if begins_with(HOST_PREFIX) && path != "/" {
        let problem = format!(
            "browsers ignore a cookie called {name} with a path other than /; \
             give it a name as well, for example name = \"{SECURE_PREFIX}{COOKIE_FAMILY}-{listener}\""
        );
        return Err(source.wrong(&given.path.span(), problem));
    }
    if *given.same_site.get_ref() == SameSite::None && !is_https {
        let problem = "browsers ignore a cookie with SameSite=None that comes without TLS; \
                       set behind_https = true if TLS ends in front of the balancer";
        return Err(source.wrong(&given.same_site.span(), problem));
    }
    Ok(AffinityCookie {
        name,
        path: path.clone(),
        same_site: *given.same_site.get_ref(),
        is_secure: is_https,
        lifetime_s: given.lifetime_s,
        is_persistent: given.persistent,
    })
}

/// Two listeners that pin must not overwrite each other's cookie.
pub(super) fn distinct(
    source: &Source<'_>,
    given: &[file::Listener],
    checked: &[Listener],
) -> Result<(), ConfigError> {
    for (index, listener) in checked.iter().enumerate() {
        let name = &listener.cookie.name;
        let same = |other: &&Listener| other.affinity && other.cookie.name == *name;
        if let Some(other) = checked[..index]
            .iter()
            .find(same)
            .filter(|_| listener.affinity)
        {
            // One of the two was given it: names by default differ as the listeners' do.
            let span = given[..=index]
                .iter()
                .rev()
                .find_map(|listener| listener.cookie.name.as_ref())
                .map_or(0..0, toml::Spanned::span);
            let problem = format!(
                "the listeners {} and {} both call their cookie {name}, and cookies ignore ports: \
                 clients of one would lose their node to the other",
                other.strategy, listener.strategy
            );
            return Err(source.wrong(&span, problem));
        }
    }
    Ok(())
}
