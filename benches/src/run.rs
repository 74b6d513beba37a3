//! The order of a run: the stage, the rounds, the memory, the report.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::environment::Environment;
use crate::fanout::FAN_OUT;
use crate::generator::load_keys;
use crate::goals::{GOALS, Verdict};
use crate::loads::{self, IDLE, LARGE, Load, ONE_SLOT, SMALL};
use crate::options::Options;
use crate::report::{self, Method};
use crate::results::Results;
use crate::stage::Stage;
use crate::targets::{Kind, Target};
use crate::{cell, fanout, idle, interrupt, picture, profile, raw};

/// A run under way. Dropping it ends all its processes and removes their folders.
#[derive(Debug)]
pub struct Run<'a> {
    options: &'a Options,
    // Dropped in this order: the proxies before the servers.
    targets: Vec<Target>,
    stage: Stage,
    method: Method,
    results: Results,
}

impl<'a> Run<'a> {
    /// Starts servers and proxies, and loads the keys. A target that is not there or does not come
    /// up is left out and named in the report.
    pub fn set_up(options: &'a Options, mut say: impl FnMut(&str)) -> Result<Self> {
        let mut method = Method {
            rounds: options.rounds,
            cell: options.cell,
            warm_up: options.warm_up,
            skipped: Vec::new(),
            profiles: Vec::new(),
        };
        let mut kinds = Vec::new();
        for kind in &options.kinds {
            match kind.program(&options.slotway) {
                Ok(_) => kinds.push(*kind),
                Err(why) => method.skipped.push((*kind, why)),
            }
        }
        let with_cluster = kinds.iter().any(|kind| kind.is_slotway());
        let stage = Stage::set_up(with_cluster, options.slotway.clone())?;
        let mut targets = Vec::new();
        for kind in kinds {
            let started = Target::start(kind, &stage).and_then(|target| {
                // Through the target itself: so each key lies where it will look for it.
                [&SMALL, &LARGE, &ONE_SLOT]
                    .into_iter()
                    .try_for_each(|keys| load_keys(target.address, keys))?;
                Ok(target)
            });
            interrupt::check()?;
            match started {
                Ok(target) => targets.push(target),
                Err(why) => method.skipped.push((kind, format!("{why:#}"))),
            }
        }
        for (kind, why) in &method.skipped {
            say(&format!("{} is left out: {why}", kind.name()));
        }
        if targets.is_empty() {
            bail!("there is nothing to measure");
        }
        Ok(Run { options, targets, stage, method, results: Results::default() })
    }

    /// Measures everything that was asked for. What fails is noted and does not stop the rest.
    pub fn measure(&mut self, mut say: impl FnMut(&str)) -> Result<()> {
        for round in 1..=self.options.rounds {
            for load in &self.options.loads {
                say(&format!("round {round} of {}: {}", self.options.rounds, load.title));
                self.measure_load(load, round)?;
            }
            if self.options.memory && round <= self.options.memory_rounds {
                say(&format!("round {round} of {}: {IDLE}", self.options.memory_rounds));
                self.measure_memory(round)?;
            }
            if self.options.fan_out {
                say(&format!("round {round} of {}: {FAN_OUT}", self.options.rounds));
                self.measure_fan_out(round)?;
            }
        }
        Ok(())
    }

    fn measure_load(&mut self, load: &'static Load, round: usize) -> Result<()> {
        let mut gone = Vec::new();
        for target in self.targets.iter_mut().filter(|target| target.kind.runs(load)) {
            let kind = target.kind;
            match cell::measure(target, load, self.options.warm_up, self.options.cell) {
                Ok(cell) => self.results.add_cell(load.name, kind, round, cell),
                Err(error) => {
                    interrupt::check()?;
                    self.results.failures.push(format!("{error:#}"));
                    // What is left of the old one may be in any state; the next cell gets a new one.
                    match Target::start(kind, &self.stage) {
                        Ok(new) => *target = new,
                        Err(error) => {
                            let words = format!("{} did not come up again: {error:#}", kind.name());
                            self.results.failures.push(words);
                            gone.push(kind);
                        }
                    }
                }
            }
        }
        self.targets.retain(|target| !gone.contains(&target.kind));
        Ok(())
    }

    fn measure_fan_out(&mut self, round: usize) -> Result<()> {
        let kinds: Vec<Kind> = self.targets.iter().map(|target| target.kind).collect();
        for kind in kinds.into_iter().filter(|kind| fanout::runs(*kind)) {
            for burst in fanout::BURSTS {
                match fanout::measure(kind, &self.stage, burst, self.options.cell) {
                    Ok(us) => self.results.add_delivery(burst, kind, round, us),
                    Err(error) => {
                        interrupt::check()?;
                        self.results.failures.push(format!("{error:#}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn measure_memory(&mut self, round: usize) -> Result<()> {
        let kinds: Vec<Kind> = self.targets.iter().map(|target| target.kind).collect();
        for kind in kinds {
            // A server alone is no peer here, and nothing is asked of further slotways.
            if matches!(kind, Kind::Direct | Kind::SlotwayTwo | Kind::SlotwayStrict) {
                continue;
            }
            match idle::measure(kind, &self.stage) {
                Ok(memory) => self.results.add_memory(kind, round, memory),
                Err(error) => {
                    interrupt::check()?;
                    self.results.failures.push(format!("{error:#}"));
                }
            }
        }
        Ok(())
    }

    /// Records a profile for each load on which slotway missed a goal.
    pub fn explain_misses(&mut self, mut say: impl FnMut(&str)) -> Result<()> {
        let missed: BTreeSet<&'static str> = GOALS
            .iter()
            .filter(|goal| goal.judge(&self.results).0 == Verdict::Missed)
            .filter_map(|goal| goal.measure.load())
            .collect();
        let Some(slotway) = self.targets.iter().find(|it| it.kind == Kind::Slotway) else {
            return Ok(());
        };
        for name in missed {
            let load = loads::by_name(name).context("a goal about no load")?;
            say(&format!("recording a profile of slotway: {}", load.title));
            let recorded = self.profile(slotway, load).map_err(|error| format!("{error:#}"));
            interrupt::check()?;
            self.method.profiles.push((name, recorded));
        }
        Ok(())
    }

    /// Records a profile of every proxy among the targets under one load; gives the files' names.
    pub fn profile_all(&self, load: &Load) -> Result<Vec<String>> {
        let proxies = self.targets.iter().filter(|target| target.proxy_pid().is_some());
        proxies.map(|target| self.profile(target, load)).collect()
    }

    fn profile(&self, target: &Target, load: &Load) -> Result<String> {
        let (cell, output) = (self.options.cell, &self.options.output);
        let file = profile::record(target, load, cell, self.stage.folder.path(), output)?;
        Ok(file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// Writes the report's files; gives its short form.
    pub fn report(&self) -> Result<String> {
        let output = &self.options.output;
        fs::create_dir_all(output).with_context(|| format!("cannot make {output:?}"))?;
        let environment = Environment::look(&self.options.kinds, &self.options.slotway);
        let markdown = report::markdown(&self.results, &environment, &self.method);
        write(&output.join("report.md"), &markdown)?;
        write(&output.join("report.svg"), &picture::render(&self.results))?;
        let raw = raw::render(&self.results, &environment);
        write(&output.join("raw.json"), &serde_json::to_string_pretty(&raw)?)?;
        Ok(report::summary(&self.results, &self.method))
    }

    /// Whether everything that was tried gave a figure.
    pub fn complete(&self) -> bool {
        self.results.failures.is_empty()
    }
}

fn write(file: &Path, content: &str) -> Result<()> {
    fs::write(file, content).with_context(|| format!("cannot write {file:?}"))
}
