//! A fixed number of requests through the heart alone: something to count instructions of.
//!
//! `heart REQUESTS PIPELINE [get|set|set-one-slot|mget|multi|eval] [strict]`

use std::process::ExitCode;

use benches::heart::{Heart, Load};

fn main() -> ExitCode {
    let Some((requests, mut heart)) = read(&std::env::args().skip(1).collect::<Vec<_>>()) else {
        eprintln!(
            "usage: heart REQUESTS PIPELINE (1 to 1000) [get|set|set-one-slot|mget|multi|eval] [strict]"
        );
        return ExitCode::from(64);
    };
    let mut done = 0;
    while done < requests {
        done += heart.round();
    }
    ExitCode::SUCCESS
}

/// How many requests, and the heart for them; none if the words are not understood.
fn read(words: &[String]) -> Option<(usize, Heart)> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let strict = words.pop_if(|word| *word == "strict").is_some();
    let (requests, pipeline, load) = match words[..] {
        [requests, pipeline] => (requests, pipeline, Load::Get),
        [requests, pipeline, "get"] => (requests, pipeline, Load::Get),
        [requests, pipeline, "set"] => (requests, pipeline, Load::Set),
        [requests, pipeline, "set-one-slot"] => (requests, pipeline, Load::SetOneSlot),
        [requests, pipeline, "mget"] => (requests, pipeline, Load::Mget),
        [requests, pipeline, "multi"] => (requests, pipeline, Load::Multi),
        [requests, pipeline, "eval"] => (requests, pipeline, Load::Eval),
        _ => return None,
    };
    let pipeline = pipeline.parse().ok().filter(|pipeline| (1..=1000).contains(pipeline))?;
    Some((requests.parse().ok()?, Heart::new(load, pipeline, strict)))
}
