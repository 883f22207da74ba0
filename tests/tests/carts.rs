//! Any sequence of cart operations, through the balancer and over all nodes, against a model.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reports by panicking"
)]

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tests::{STRATEGIES, User, cluster};

/// What a user may do to a cart. Few ids, so that operations meet.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Remove(u8),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6_u8).prop_map(Step::Add),
        2 => (0..6_u8).prop_map(Step::Remove),
        1 => Just(Step::Read),
    ]
}

#[tokio::test]
async fn carts_behave_like_the_model() {
    let cluster = cluster(&STRATEGIES).await;
    let mut runner = TestRunner::deterministic();
    for case in 0..20 {
        let steps = proptest::collection::vec(step(), 1..25)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for strategy in STRATEGIES {
            let mut user = User::logged_in(&cluster, strategy, case + 1).await;
            let (mut model, mut version) = (Vec::<String>::new(), 0_u64);
            for step in &steps {
                let answer = match step {
                    Step::Add(id) => {
                        let id = format!("line-{id}");
                        if !model.contains(&id) {
                            model.push(id.clone());
                            version += 1;
                        }
                        user.add(&id).await.expect(201)
                    }
                    Step::Remove(id) => {
                        let id = format!("line-{id}");
                        let before = model.len();
                        model.retain(|known| *known != id);
                        version += u64::from(model.len() != before);
                        user.remove(&id).await.expect(200)
                    }
                    Step::Read => user.cart().await.expect(200),
                };
                assert_eq!(answer.lines(), model, "{strategy}: {steps:?}");
                assert_eq!(answer.body["version"], version, "{strategy}: {steps:?}");
            }
        }
    }
}
