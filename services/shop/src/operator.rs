//! The operator: whoever presents the operator's token. An extractor, so that an operator call cannot forget to ask.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use crate::carrier::is_bearer_of;
use crate::node::{Node, Served};
use crate::problem::Problem;

/// Proof that an operator asks.
pub(crate) struct Operator;

impl Operator {
    fn proven(node: &Node, headers: &HeaderMap) -> Result<Self, Problem> {
        let token = node.operator_token.as_ref().ok_or(Problem::NoOperator)?;
        if is_bearer_of(headers, token.reveal()) {
            Ok(Self)
        } else {
            Err(Problem::NotTheOperator)
        }
    }
}

impl FromRequestParts<Served> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        Self::proven(&served.node, &parts.headers)
    }
}

impl FromRequestParts<Arc<Node>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        Self::proven(node, &parts.headers)
    }
}
