//! A user's side: presents what it was given last.

use session::{Cart, Change, Credential, Error, Strategy};

/// A browser.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it presents.
    pub credential: Credential,
}

impl Client {
    /// Logs in, with a fresh credential.
    ///
    /// # Panics
    /// When the login fails: a test has nothing to go on with.
    pub async fn login(node: &dyn Strategy, user: &str) -> Self {
        let granted = node.login(user, None).await.unwrap();
        Self {
            credential: granted.reissued.unwrap(),
        }
    }

    /// Changes the cart, and keeps what the answer hands back.
    pub async fn change(&mut self, node: &dyn Strategy, change: Change) -> Result<Cart, Error> {
        let changed = node.change(&self.credential, change).await?;
        self.take(changed.reissued);
        Ok(changed.value)
    }

    /// Keeps what an answer handed back.
    pub fn take(&mut self, reissued: Option<Credential>) {
        self.credential.take(reissued.unwrap_or_default());
    }

    /// Whether the node accepts the credential.
    ///
    /// # Panics
    /// When the node fails at the question.
    pub async fn is_logged_in(&self, node: &dyn Strategy) -> bool {
        match node.authenticate(&self.credential).await {
            Ok(_) => true,
            Err(Error::NotLoggedIn { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }
}
