//! `cargo xtask simulate`: how likely keys are lost with so many copies, and what so many keys and requests
//! need. `docs/scale.md` says what follows.

mod capacity;
mod durability;
mod plot;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use self::capacity::{Load, MEASURED};
use self::durability::{Copies, HOURS_OF_YEAR, nines};
use crate::{
    args::Args,
    failure::{Doing, Failure, Result},
};

/// What `cargo xtask help simulate` says beside the options.
pub(crate) const HELP: &str = "\
How likely it is that a key is lost within a year, by where copies of records
and of the domain key are; and how many cells, daemons and disks so many keys
and requests need.

  --failures N   failures of a disk or a device, a year [default: 0.015]
  --rot N        copies that go bad unnoticed, a year [default: 0.01]
  --disasters N  losses of a site, a year [default: 0.001]
  --repair H     hours until a copy is made again [default: 72]
  --scrub H      hours until every copy was read once [default: 720]
  --drill H      hours between two recovery drills [default: 2160]
  --keys N       keys [default: 10000000]
  --requests N   requests a second [default: 100000]
  --cores N      cores of a daemon's machine [default: 16]
  --plot FILE    draw nines by copies and time between scrubs, as SVG
  --json         one JSON document instead of text
";

/// Rates and times that all copies share.
#[derive(Clone, Copy, Debug)]
struct World {
    failures: f64,
    rot: f64,
    disasters: f64,
    repair: f64,
    scrub: f64,
    drill: f64,
}

/// Where the copies are.
struct Layout {
    name: &'static str,
    /// Copies of the records at each site.
    records: &'static [u8],
    /// Devices at each site.
    devices: &'static [u8],
    /// Sites of backups and of shares of the recovery key; each site has one.
    elsewhere: &'static [u8],
}

const LAYOUTS: [Layout; 7] = [
    Layout { name: "one machine, one device", records: &[1], devices: &[1], elsewhere: &[] },
    Layout { name: "the same, a backup elsewhere", records: &[1], devices: &[1], elsewhere: &[1] },
    Layout {
        name: "two devices, a backup elsewhere",
        records: &[1],
        devices: &[2],
        elsewhere: &[1],
    },
    Layout { name: "3 members, 3 devices, one site", records: &[3], devices: &[3], elsewhere: &[] },
    Layout { name: "the same, a backup elsewhere", records: &[3], devices: &[3], elsewhere: &[1] },
    Layout {
        name: "3 sites, a member and a device each",
        records: &[1, 1, 1],
        devices: &[1, 1, 1],
        elsewhere: &[],
    },
    Layout {
        name: "the same, backups at 2 more sites",
        records: &[1, 1, 1],
        devices: &[1, 1, 1],
        elsewhere: &[1, 1],
    },
];

/// The likelihood that a key is lost within a year, by what is lost.
struct Losses {
    records: f64,
    domain_key: f64,
}

impl World {
    fn copies(&self, sites: &[u8], scrub: f64) -> Copies {
        let Self { failures, rot, disasters, repair, .. } = *self;
        Copies { sites: sites.to_vec(), failures, rot, disasters, repair, scrub }
    }

    fn losses(&self, layout: &Layout) -> Losses {
        let with_backups = |sites: &[u8]| {
            let loss = self.copies(sites, self.scrub).loss_in_a_year();
            if layout.elsewhere.is_empty() {
                return loss;
            }
            // What is offline rots until somebody tries it.
            let backups = self.copies(layout.elsewhere, self.drill).loss_in_a_year();
            let missing = |loss: f64, hours: f64| (loss * hours / HOURS_OF_YEAR).min(1.0);
            loss * missing(backups, self.drill / 2.0 + self.repair)
                + backups * missing(loss, self.repair)
        };
        Losses { records: with_backups(layout.records), domain_key: with_backups(layout.devices) }
    }
}

impl Losses {
    fn nines(&self) -> f64 {
        nines(self.records + self.domain_key)
    }
}

/// The subcommand.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let mut number = |name: &str, default: f64| -> Result<f64> {
        let Some(text) = args.value(name)? else { return Ok(default) };
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| Failure::new(format!("{name} takes a number above 0, not `{text}`")))
    };
    let world = World {
        failures: number("--failures", 0.015)?,
        rot: number("--rot", 0.01)?,
        disasters: number("--disasters", 0.001)?,
        repair: number("--repair", 72.0)?,
        scrub: number("--scrub", 720.0)?,
        drill: number("--drill", 2160.0)?,
    };
    let load = Load {
        keys: number("--keys", 1e7)?,
        requests: number("--requests", 1e5)?,
        cores: number("--cores", 16.0)?,
        busy: 0.5,
    };
    let plot = args.value("--plot")?.map(PathBuf::from);
    let json = args.flag("--json");
    args.finish()?;
    if let Some(file) = plot {
        let drawing = plot::draw(|copies, hours| {
            nines(world.copies(&vec![1; copies], hours).loss_in_a_year())
        });
        fs::write(&file, drawing).doing(format_args!("write {}", file.display()))?;
    }
    if json {
        print_json(&world, load)
    } else {
        print(&world, load)
    }
    Ok(())
}

fn print(world: &World, load: Load) {
    let World { failures, rot, disasters, repair, scrub, drill } = world;
    println!("Durability: likelihood that a key is lost within a year");
    println!("  failures {failures}, rot {rot}, disasters {disasters} a year;");
    println!("  repair {repair} h, scrub {scrub} h, drill {drill} h\n");
    println!("  {:<38}{:>11}{:>12}{:>8}", "copies", "records", "domain key", "nines");
    for layout in &LAYOUTS {
        let losses = world.losses(layout);
        let Losses { records, domain_key } = losses;
        let nines = losses.nines();
        println!("  {:<38}{records:>11.1e}{domain_key:>12.1e}{nines:>8.1}", layout.name);
    }
    println!("\nCapacity: {:.0} keys, {:.0} requests/s", load.keys, load.requests);
    println!("  {:.0} cores a daemon, half of them busy\n", load.cores);
    for (what, value) in load.needs().rows() {
        println!("  {what:<42}{value:>12}");
    }
    println!("\n  by what was measured:");
    for figure in MEASURED {
        println!("  {:<46}{:>8} {}", figure.what, figure.value, figure.unit);
    }
}

fn print_json(world: &World, load: Load) {
    let layouts: Vec<Value> = LAYOUTS
        .iter()
        .map(|layout| {
            let losses = world.losses(layout);
            json!({
                "layout": layout.name,
                "records": layout.records,
                "devices": layout.devices,
                "backups": layout.elsewhere.len(),
                "recordsLost": losses.records,
                "domainKeyLost": losses.domain_key,
                "nines": losses.nines(),
            })
        })
        .collect();
    let measured: Vec<Value> = MEASURED
        .iter()
        .map(|it| json!({ "what": it.what, "value": it.value, "unit": it.unit, "source": it.source }))
        .collect();
    let document = json!({
        "durability": layouts, "capacity": load.needs().to_json(), "measured": measured,
    });
    println!("{document:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_what_the_simulation_says() {
        let world = World {
            failures: 0.015,
            rot: 0.01,
            disasters: 0.001,
            repair: 72.0,
            scrub: 720.0,
            drill: 2160.0,
        };
        let page = include_str!("../../docs/scale.md");
        for layout in &LAYOUTS {
            let nines = world.losses(layout).nines();
            let row = format!("| {} | {nines:.1} |", layout.name);
            assert!(page.contains(&row), "docs/scale.md has no row {row}");
        }
        let best = LAYOUTS.iter().map(|layout| world.losses(layout).nines());
        assert!(best.fold(0.0, f64::max) >= 11.0, "none has eleven nines");
        let needed = Load { keys: 1e7, requests: 1e5, cores: 16.0, busy: 0.5 }.needs();
        for (what, value) in needed.rows() {
            let row = format!("| {what} | {value} |");
            assert!(page.contains(&row), "docs/scale.md has no row {row}");
        }
    }
}
