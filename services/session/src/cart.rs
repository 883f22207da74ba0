//! The cart: what a session holds beside its user. Pure data, and the one rule by which it changes.
//!
//! The rule is the same for every strategy, so that carts differ only in where they live:
//! the client chooses a line's id; adding an id that is there, or removing one that is not, changes nothing.
//! A request that was repeated after a lost answer therefore does no harm.

use serde::{Deserialize, Serialize};

use crate::Error;

/// One line of a cart. The caller (`shop`) has checked the patterns of `id` and `sku` and the range of `quantity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Chosen by the client, unique within the cart.
    pub id: String,
    /// What is bought.
    pub sku: String,
    /// How many, 1 to 999.
    pub quantity: u16,
}

/// The lines in the order in which they were added, and how many changes led here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// Counts effective changes; a new cart has version 0.
    pub version: u64,
    /// In the order of adding.
    pub lines: Vec<Line>,
}

/// One wish of the client about its cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add this line, unless its id is there already.
    Add(Line),
    /// Remove the line of this id, if it is there.
    Remove(String),
}

impl Cart {
    /// Applies `change`; `Ok(true)` when the cart is another one now.
    ///
    /// Fails with [`Error::CartFull`] when a line would be added to `max_lines` lines.
    pub fn apply(&mut self, change: Change, max_lines: usize) -> Result<bool, Error> {
        let changed = match change {
            Change::Add(line) if self.lines.iter().any(|known| known.id == line.id) => false,
            Change::Add(_) if self.lines.len() >= max_lines => {
                return Err(Error::CartFull { max_lines });
            }
            Change::Add(line) => {
                self.lines.push(line);
                true
            }
            Change::Remove(id) => {
                let before = self.lines.len();
                self.lines.retain(|line| line.id != id);
                self.lines.len() != before
            }
        };
        self.version += u64::from(changed);
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str) -> Line {
        Line {
            id: id.into(),
            sku: "book".into(),
            quantity: 1,
        }
    }

    #[test]
    fn the_same_id_twice_changes_nothing() {
        let mut cart = Cart::default();
        assert!(cart.apply(Change::Add(line("a")), 9).unwrap());
        let once = cart.clone();
        let other = Line {
            quantity: 5,
            ..line("a")
        };
        assert!(!cart.apply(Change::Add(other), 9).unwrap());
        assert_eq!(cart, once);
    }

    #[test]
    fn removing_what_is_not_there_changes_nothing() {
        let mut cart = Cart::default();
        assert!(!cart.apply(Change::Remove("a".into()), 9).unwrap());
        assert_eq!(cart.version, 0);
    }

    #[test]
    fn a_full_cart_refuses_a_new_line_and_accepts_a_known_one() {
        let mut cart = Cart::default();
        cart.apply(Change::Add(line("a")), 1).unwrap();
        let refused = cart.apply(Change::Add(line("b")), 1);
        assert!(matches!(refused, Err(Error::CartFull { max_lines: 1 })));
        assert!(!cart.apply(Change::Add(line("a")), 1).unwrap());
    }
}
