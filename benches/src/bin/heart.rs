//! A fixed number of requests through the heart alone: something to count instructions of.
//!
//! `heart REQUESTS PIPELINE`

use std::process::ExitCode;

use benches::heart::Heart;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let (Some(Ok(requests)), Some(Ok(pipeline @ 1..=1000))) = (numbers.next(), numbers.next())
    else {
        eprintln!("usage: heart REQUESTS PIPELINE (1 to 1000)");
        return ExitCode::from(64);
    };
    let mut heart = Heart::new(pipeline);
    let mut done = 0;
    while done < requests {
        done += heart.round();
    }
    ExitCode::SUCCESS
}
