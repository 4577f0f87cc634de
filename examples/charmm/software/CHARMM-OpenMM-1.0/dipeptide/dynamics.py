"""dynamics: molecular dynamics of alanine dipeptide with CHARMM36, at constant temperature.

Langevin dynamics (middle scheme, 2 fs steps, bonds to hydrogen rigid, friction 5/ps), after a minimisation, in vacuum
(0.6 ms of CPU per step) or in implicit water (OBC2; 3.6 ms). It runs on OpenMM's Reference platform, one thread in
double precision: the same arguments give the same bytes.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openmm
from openmm import app, unit

from dipeptide import molecule, trajectory
from dipeptide.transformation import (
    BAD_ARGUMENT,
    SOFTWARE,
    Arguments,
    Outcome,
    TransformationError,
    output_name,
    positive,
    replace_file,
    run,
    seed,
)

STEP_PS = 0.002
FRICTION = 5.0  # 1/ps
_SOLVENTS = {"obc2": ("charmm36.xml", "implicit/obc2.xml"), "vacuum": ("charmm36.xml",)}


@dataclass(frozen=True, slots=True)
class Motion:
    """What was simulated: frames in angstrom, and at each frame time (ps), energies (kJ/mol) and temperature (K)."""

    frames: npt.NDArray[np.float64]
    table: npt.NDArray[np.float64]


def main(arguments: Sequence[str]) -> int:
    """Run the transformation; return its exit code."""
    parser = Arguments("dynamics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, required=True, help="steps of 2 fs")
    parser.add_argument("--seed", type=seed, required=True, help="random seed of velocities and of the heat bath")
    parser.add_argument("--temperature", type=float, default=300.0, help="in K (default 300)")
    parser.add_argument("--interval", type=positive, default=50, help="steps between frames (default 50)")
    parser.add_argument("--solvent", choices=sorted(_SOLVENTS), default="vacuum", help="default vacuum")
    parser.add_argument("--output", type=output_name, required=True, help="name of the DCD trajectory to write")
    parser.add_argument("--energies", type=output_name, required=True, help="name of the CSV table to write")
    return run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> Outcome:
    if not 1.0 <= options.temperature <= 1000.0:
        raise TransformationError(BAD_ARGUMENT, f"--temperature {options.temperature} K: give 1 to 1000")
    if options.steps < options.interval:
        raise TransformationError(
            BAD_ARGUMENT,
            f"--steps {options.steps} is less than --interval {options.interval}: no frame would be written",
        )
    if options.output == options.energies:
        raise TransformationError(BAD_ARGUMENT, f"--output and --energies are both {options.output}")
    motion = simulate(options.steps, options.interval, options.temperature, options.seed, options.solvent)
    trajectory.write(options.output, motion.frames, options.interval, STEP_PS)
    lines = ["time_ps,potential_kj_mol,kinetic_kj_mol,temperature_k"]
    lines += [f"{time:.3f},{potential:.6f},{kinetic:.6f},{heat:.4f}" for time, potential, kinetic, heat in motion.table]
    replace_file(options.energies, ("\n".join(lines) + "\n").encode())
    frames = len(motion.frames)
    return Outcome(frames, {options.output: frames, options.energies: frames})


def simulate(steps: int, interval: int, kelvin: float, random_seed: int, solvent: str) -> Motion:
    """Move the molecule for `steps` steps and look at it every `interval`.

    Raises TransformationError (SOFTWARE) when the molecule flies apart.
    """
    topology = _topology()
    forces = app.ForceField(*_SOLVENTS[solvent])
    system = forces.createSystem(
        topology,
        nonbondedMethod=app.NoCutoff,
        constraints=app.HBonds,
        removeCMMotion=False,
        residueTemplates=dict.fromkeys(topology.residues(), "ALAD"),  # by its bonds alone it could be AANM too
    )
    integrator = openmm.LangevinMiddleIntegrator(kelvin, FRICTION, STEP_PS)
    integrator.setRandomNumberSeed(random_seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule.geometry() * 0.1)  # OpenMM's unit is nm
    openmm.LocalEnergyMinimizer.minimize(context, 1.0, 500)
    context.setVelocitiesToTemperature(kelvin, random_seed)
    freedom = 3 * system.getNumParticles() - system.getNumConstraints()
    gas = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    frames, table = [], []
    for frame in range(1, steps // interval + 1):
        integrator.step(interval)
        state = context.getState(getPositions=True, getEnergy=True)
        potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        if not np.isfinite(potential):
            raise TransformationError(SOFTWARE, f"the molecule flew apart after {frame * interval} steps")
        frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        table.append([frame * interval * STEP_PS, potential, kinetic, 2.0 * kinetic / (freedom * gas)])
    return Motion(np.array(frames), np.array(table))


def _topology() -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue("ALAD", topology.addChain())
    atoms = {
        atom.name: topology.addAtom(atom.name, app.Element.getBySymbol(atom.element), residue)
        for atom in molecule.ATOMS
    }
    for atom in molecule.ATOMS:
        if atom.bond:
            topology.addBond(atoms[atom.bond], atoms[atom.name])
    return topology
