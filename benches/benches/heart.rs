//! How long the heart alone takes for a request.
#![allow(missing_docs)] // what the macros of criterion define

use benches::heart::{Heart, Load};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("heart");
    let mut add = |name: &str, load, pipeline, strict| {
        let mut heart = Heart::new(load, pipeline, strict);
        group.throughput(Throughput::Elements(heart.round() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| heart.round()));
    };
    for pipeline in [1, 16, 64] {
        add(&format!("GET, pipeline {pipeline}"), Load::Get, pipeline, false);
    }
    add("GET, pipeline 100", Load::Get, 100, false);
    add("MGET of 100 keys", Load::Mget, 100, false);
    for (order, strict) in [("pipelined", false), ("strict", true)] {
        add(&format!("SET, pipeline 16, {order}"), Load::Set, 16, strict);
        add(&format!("SET, pipeline 16, one slot, {order}"), Load::SetOneSlot, 16, strict);
    }
    group.finish();
}

criterion_group!(heart, requests);
criterion_main!(heart);
