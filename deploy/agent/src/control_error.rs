//! What the control port answers when something goes wrong: `application/problem+json`.

use agent::{
    AgentError,
    wire::{self, Problem},
};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// Why a call is answered with a problem.
pub(crate) enum ControlError {
    Unauthorized,
    NotFound(String),
    Method,
    Invalid(String),
    Agent(AgentError),
    Broken(String),
}

impl From<AgentError> for ControlError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        const CONFLICT: StatusCode = StatusCode::CONFLICT;
        const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        let of = |kind: &str| format!("/problems/{kind}");
        let (status, kind, title, detail) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                of("unauthorized"),
                "The agent's token is required",
                "send Authorization: Bearer and what is in the agent's token file".into(),
            ),
            Self::NotFound(detail) => (StatusCode::NOT_FOUND, of("not-found"), "Not found", detail),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                of("method-not-allowed"),
                "Wrong method",
                "docs/agent.md has the method of each call".into(),
            ),
            Self::Invalid(detail) => (
                StatusCode::BAD_REQUEST,
                of("invalid-request"),
                "The request makes no sense",
                detail,
            ),
            Self::Agent(error) => {
                let detail = error.to_string();
                match error {
                    AgentError::NotRunning { .. } => (
                        CONFLICT,
                        wire::NOT_RUNNING.into(),
                        "It does not run",
                        detail,
                    ),
                    AgentError::AlreadyRunning { .. } => {
                        (CONFLICT, of("already-running"), "It runs already", detail)
                    }
                    _ => (FAILED, of("no-effect"), "It could not be done", detail),
                }
            }
            Self::Broken(detail) => (FAILED, of("broken"), "The agent is broken", detail),
        };
        let problem = Problem {
            kind,
            title: title.into(),
            status: status.as_u16(),
            detail,
        };
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, json, Json(problem)).into_response()
    }
}
