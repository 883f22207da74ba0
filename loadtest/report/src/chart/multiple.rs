//! A timeline small enough to stand beside those of the other strategies, on the same scales: answers and failures per second,
//! the p99 latency below, and the moments of the faults. The nodes are told apart in the large drawing only.

use askama::Template;

use super::bands::{line, single, spans};
use super::marks::{Away, away};
use super::timeline::{Frame, ticks};
use super::{Scale, Tick, axis_time, plain};
use crate::fault;
use evidence::format::{count, moment};
use evidence::results::Run;

const WIDTH: f64 = 270.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = WIDTH - 6.0;
const RATE_TOP: f64 = 18.0;
const RATE_BOTTOM: f64 = RATE_TOP + 66.0;
const LATENCY_TOP: f64 = RATE_BOTTOM + 10.0;
const LATENCY_BOTTOM: f64 = LATENCY_TOP + 36.0;
/// Pixels that a character of a label takes.
const CHARACTER: f64 = 6.0;

/// The drawing of one run.
#[derive(Template)]
#[template(path = "multiple.svg")]
pub(crate) struct Multiple {
    id: String,
    title: String,
    description: String,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    rate_top: f64,
    rate_bottom: f64,
    latency_bottom: f64,
    time_ticks: Vec<Tick>,
    rate_ticks: Vec<Tick>,
    latency_ticks: Vec<Tick>,
    away: Vec<Away>,
    answers: String,
    failed: String,
    p99: String,
    marks: Vec<ShortMark>,
}

/// The moment of a fault.
struct ShortMark {
    at: f64,
    /// `None` where it would cover the label before it.
    label: Option<String>,
    /// `start` or `end`: on which side of the line the label is.
    anchor: &'static str,
    label_x: f64,
}

impl Multiple {
    /// `None` when the run recorded no timeline. `id` must be unique in the page.
    pub(crate) fn of(run: &Run, frame: &Frame, id: String) -> Option<Self> {
        let spans = spans(run);
        if spans.is_empty() {
            return None;
        }
        let time = Scale::linear((0.0, frame.end_ms), (LEFT, RIGHT));
        let rate = Scale::linear((0.0, frame.rate * 1.04), (RATE_BOTTOM, RATE_TOP));
        let (lowest, highest) = frame.latency_us;
        let latency = Scale::logarithmic(
            (lowest / 1.15, highest * 1.15),
            (LATENCY_BOTTOM, LATENCY_TOP),
        );
        let (answers, failed) = single(&spans, time, rate);
        let seconds = Scale::linear((0.0, frame.end_ms / 1e3), (0.0, 1.0)).round_values(4.0);
        Some(Self {
            title: format!(
                "{}, run {}: answers per second, failed requests and p99 latency over time",
                run.strategy, run.repeat
            ),
            description: describe(run),
            id,
            width: WIDTH,
            height: LATENCY_BOTTOM + 18.0,
            left: LEFT,
            right: RIGHT,
            rate_top: RATE_TOP,
            rate_bottom: RATE_BOTTOM,
            latency_bottom: LATENCY_BOTTOM,
            time_ticks: ticks(seconds, |s| time.at(s * 1e3), |s| format!("{} s", plain(s))),
            rate_ticks: ticks(rate.round_values(2.0), |value| rate.at(value), plain),
            latency_ticks: if highest > 0.0 {
                ticks(ends(&latency.decades()), |us| latency.at(us), axis_time)
            } else {
                Vec::new()
            },
            away: away(run, frame.end_ms, time),
            answers,
            failed,
            p99: line(&spans, time, latency, |slice| slice.p99_us),
            marks: marks(run, time),
        })
    }
}

/// The first and the last: there is no room for more labels.
fn ends(values: &[f64]) -> Vec<f64> {
    match values {
        [first, .., last] => vec![*first, *last],
        few => few.to_vec(),
    }
}

fn marks(run: &Run, time: Scale) -> Vec<ShortMark> {
    let mut moments: Vec<(u64, String)> = run
        .faults
        .iter()
        .map(|fault| match fault.effective_ms {
            Some(ms) => (ms, fault::done(fault).to_owned()),
            None => (fault.commanded_ms, "no effect seen".to_owned()),
        })
        .collect();
    moments.sort_by_key(|(ms, _)| *ms);
    let mut taken = f64::NEG_INFINITY;
    let marks = moments.into_iter().map(|(ms, label)| {
        let at = time.at(ms as f64);
        let label = super::shortened(&label, 16);
        let length = CHARACTER * label.chars().count() as f64;
        // The label stands after the line, unless there is no room.
        let (anchor, label_x, from, to) = if at + length > WIDTH {
            ("end", at - 3.0, at - length, at)
        } else {
            ("start", at + 3.0, at, at + length)
        };
        let fits = from >= taken;
        if fits {
            taken = to;
        }
        ShortMark {
            at,
            label: fits.then_some(label),
            anchor,
            label_x,
        }
    });
    marks.collect()
}

/// The drawing in words; the caption of the large one says more.
fn describe(run: &Run) -> String {
    let failed: u64 = run.timeline.iter().map(|slice| slice.failed).sum();
    let faults = run.faults.iter().filter_map(|fault| {
        let at = moment(fault.effective_ms?);
        Some(format!(
            " {} was {} at {at} s.",
            fault.target,
            fault::done(fault)
        ))
    });
    let faults: String = faults.collect();
    format!("{} requests failed.{faults}", count(failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::sample;

    #[test]
    fn every_fault_has_its_line_and_labels_do_not_cover_each_other() {
        let mut run = sample::sticky(1);
        let mut soon = run.faults[0].clone();
        soon.effective_ms = Some(10_500);
        let mut unseen = run.faults[0].clone();
        (unseen.commanded_ms, unseen.effective_ms) = (29_000, None);
        run.faults.extend([soon, unseen]);
        let time = Scale::linear((0.0, 30_000.0), (LEFT, RIGHT));
        let marks = marks(&run, time);
        let labels: Vec<_> = marks.iter().map(|mark| mark.label.as_deref()).collect();
        assert_eq!(labels, [Some("killed"), None, Some("no effect seen")]);
        assert_eq!(marks[0].anchor, "start");
        assert_eq!(marks[2].anchor, "end", "there is no room to its right");
    }

    #[test]
    fn all_have_the_same_scales() {
        let (sticky, redis) = (sample::sticky(1), sample::redis(1));
        let frame = Frame::over(&[sticky.clone(), redis.clone()]);
        let ticks = |run| -> Vec<String> {
            let drawn = Multiple::of(run, &frame, "x".to_owned()).unwrap();
            let all = [drawn.rate_ticks, drawn.time_ticks, drawn.latency_ticks];
            let all = all.into_iter().flatten();
            all.map(|tick| format!("{} {:.1}", tick.label, tick.at))
                .collect()
        };
        assert_eq!(ticks(&sticky), ticks(&redis));
    }

    #[test]
    fn a_run_without_a_timeline_is_not_drawn() {
        let mut run = sample::sticky(1);
        run.timeline.clear();
        let frame = Frame::over(&[sample::sticky(1)]);
        assert!(Multiple::of(&run, &frame, "x".to_owned()).is_none());
    }
}
