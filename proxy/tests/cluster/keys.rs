//! Many keys through the proxy, found again at their owners; and whose slot is whose.

use std::collections::HashMap;
use std::thread;

use anyhow::{Result, ensure};
use redis::pipe;
use slotway::slot::Slot;
use testbed::key_slot;

use crate::stage::{owners, shared, slotway};

const WRITERS: usize = 8;
const KEYS_PER_WRITER: usize = 12_500;
const PIPELINE: usize = 250;

#[test]
fn a_hundred_thousand_keys_are_written_read_and_found_at_their_owners() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let count = WRITERS * KEYS_PER_WRITER;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let proxy = &proxy;
                scope.spawn(move || -> Result<()> {
                    let mut client = proxy.client()?;
                    let first = writer * KEYS_PER_WRITER;
                    for from in (first..first + KEYS_PER_WRITER).step_by(PIPELINE) {
                        let mut pipe = pipe();
                        (from..from + PIPELINE).for_each(|n| {
                            pipe.set(key(n), value(n)).ignore();
                        });
                        pipe.exec(&mut client)?;
                    }
                    Ok(())
                })
            })
            .collect();
        joined(writers)
    })?;

    // Each reader takes every eighth key, so that it reads what all have written.
    thread::scope(|scope| {
        let readers: Vec<_> = (0..WRITERS)
            .map(|reader| {
                let proxy = &proxy;
                scope.spawn(move || -> Result<()> {
                    let mut client = proxy.client()?;
                    let numbers: Vec<usize> = (reader..count).step_by(WRITERS).collect();
                    for numbers in numbers.chunks(PIPELINE) {
                        compare(&mut client, numbers)?;
                    }
                    Ok(())
                })
            })
            .collect();
        joined(readers)
    })?;

    let owners = owners(&cluster, 3)?;
    let owner_of: HashMap<u16, usize> = (0..owners.len())
        .flat_map(|owner| owners[owner].1.iter().map(move |&slot| (slot, owner)))
        .collect();
    let mut numbers = vec![Vec::new(); owners.len()];
    (0..count).for_each(|n| numbers[owner_of[&key_slot(key(n))]].push(n));
    for ((node, _), numbers) in owners.iter().zip(numbers) {
        ensure!(numbers.len() > count / 5, "{node} owns {} keys only", numbers.len());
        let mut client = node.client()?;
        for numbers in numbers.chunks(1000) {
            compare(&mut client, numbers)?;
        }
    }
    Ok(())
}

/// Reads the keys of these numbers by a pipeline and compares each with what was written.
fn compare(client: &mut redis::Connection, numbers: &[usize]) -> Result<()> {
    let mut pipe = pipe();
    numbers.iter().for_each(|&n| {
        pipe.get(key(n));
    });
    let found: Vec<Option<String>> = pipe.query(client)?;
    for (&n, found) in numbers.iter().zip(found) {
        ensure!(found.as_deref() == Some(value(n).as_str()), "{} holds {found:?}", key(n));
    }
    Ok(())
}

fn key(n: usize) -> String {
    format!("user:{n}:name")
}

/// Of no two keys the same, 8 to 207 bytes.
fn value(n: usize) -> String {
    format!("{n:08}{}", "x".repeat(n % 200))
}

fn joined(threads: Vec<thread::ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
}

#[test]
fn slots_are_those_that_a_live_server_says() -> Result<()> {
    let cluster = shared()?;
    let mut node = cluster.nodes()[0].client()?;
    // Braces in all constellations: short words of an alphabet that is half braces, bytes of any
    // value, and long keys.
    let mut state = 0x9e37_79b9_u32;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let keys: Vec<Vec<u8>> = (0..20_000)
        .map(|n| {
            let length = if n % 100 == 0 { random(3000) } else { random(12) };
            let letter = |_| if n % 3 == 0 { random(256) as u8 } else { b"{}{}ab0\0"[random(8)] };
            (0..length).map(letter).collect()
        })
        .collect();
    for keys in keys.chunks(1000) {
        let mut pipe = pipe();
        keys.iter().for_each(|key| {
            pipe.cmd("CLUSTER").arg("KEYSLOT").arg(key);
        });
        let slots: Vec<u16> = pipe.query(&mut node)?;
        for (key, slot) in keys.iter().zip(slots) {
            let ours = Slot::of_key(key).number();
            ensure!(ours == slot, "{:?}: {ours}, not {slot}", key.escape_ascii().to_string());
        }
    }
    Ok(())
}
