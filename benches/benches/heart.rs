//! How long the heart alone takes for a request.
#![allow(missing_docs)] // what the macros of criterion define

use benches::heart::Heart;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heart");
    for pipeline in [1, 16, 64] {
        let mut heart = Heart::new(pipeline);
        group.throughput(Throughput::Elements(heart.round() as u64));
        group.bench_function(format!("GET, pipeline {pipeline}"), |bencher| {
            bencher.iter(|| heart.round());
        });
    }
    group.finish();
}

criterion_group!(heart, requests);
criterion_main!(heart);
