//! The credential that a request brings, as extractors, so that no endpoint can forget to ask.

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use serde::Serialize;
use session::{Answer, Credential};

use crate::carrier::{Transport, bearer};
use crate::cookies::Visit;
use crate::node::Served;
use crate::problem::Problem;

/// A credential that came along with a request. The strategy has not judged it yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Presented {
    /// What was presented.
    pub credential: Credential,
    /// By which way.
    pub transport: Transport,
}

impl Presented {
    /// The answer to whoever presented this; see [`Carrier::respond`].
    pub(crate) fn respond(
        &self,
        served: &Served,
        answer: Answer<impl Serialize>,
    ) -> Result<Response, Problem> {
        let carrier = &served.lane().carrier;
        carrier.respond(answer.map(Some), self.transport, None)
    }
}

/// For endpoints that need a login: 401 without a credential.
impl FromRequestParts<Served> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let carrier = &served.lane().carrier;
        let find = |transport| {
            let found = carrier.find(transport, &parts.headers);
            found.map_err(|problem| match problem {
                Problem::AmbiguousCredential { .. } => carrier.ambiguous(&Visit::of(parts)),
                other => other,
            })
        };
        let bearer = find(Transport::Bearer)?;
        let cookie = find(Transport::Cookie)?;
        agreed(bearer, cookie, served)
            .await?
            .ok_or(Problem::NotLoggedIn { presented: false })
    }
}

/// The one credential that counts. With both ways in use the header does, because a browser sends cookies unasked;
/// but when both are valid and belong to different users, somebody is about to act for the wrong one.
async fn agreed(
    bearer: Option<Credential>,
    cookie: Option<Credential>,
    served: &Served,
) -> Result<Option<Presented>, Problem> {
    if let (Some(bearer), Some(cookie)) = (&bearer, &cookie)
        && bearer.token() != cookie.token()
    {
        let strategy = served.strategy();
        let by_bearer = strategy.authenticate(bearer).await;
        let by_cookie = strategy.authenticate(cookie).await;
        if let (Ok(by_bearer), Ok(by_cookie)) = (by_bearer, by_cookie)
            && by_bearer.value.user != by_cookie.value.user
        {
            return Err(Problem::TwoUsers);
        }
    }
    let presented = |transport| {
        move |credential| Presented {
            credential,
            transport,
        }
    };
    let bearer = bearer.map(presented(Transport::Bearer));
    Ok(bearer.or_else(|| cookie.map(presented(Transport::Cookie))))
}

/// For login and logout, which end whatever was presented: each credential once, by either way and however often. Which one
/// the client means does not matter to them, and refusing them would lock it out.
pub(crate) struct Brought(pub Vec<Credential>);

impl FromRequestParts<Served> for Brought {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let (headers, carrier) = (&parts.headers, &served.lane().carrier);
        let first = carrier.cookies().next();
        let mut tokens = first.map_or_else(Vec::new, |cookie| cookie.all(headers));
        if carrier.has_bearers() {
            tokens.extend(bearer(headers)?);
        }
        tokens.sort_unstable();
        tokens.dedup();
        Ok(Self(tokens.into_iter().map(Credential::new).collect()))
    }
}
