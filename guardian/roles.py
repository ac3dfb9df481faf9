"""What each role watches: its empty state, and the configuration as its kernels read it.

Owns the one place where roles differ: failed logins belong to actors, requests and floods to addresses, the order of steps
to sessions.
"""

from __future__ import annotations

from guardian import state as states
from guardian.config import Config
from scoring.layout import Parameters, RoleState


def new_state(role: str) -> RoleState:
    """The empty state of a role."""
    return states.new_role(
        watches_logins=role == "actor", watches_requests=role == "address", watches_steps=role == "session"
    )


def parameters(config: Config, role: str) -> Parameters:
    """What the configuration says, as the kernels of a role read it."""
    settings, rules = config.engine, config.rules
    return Parameters(
        max_entities=settings.max_entities,
        max_kinds=settings.max_kinds,
        max_pairs=settings.max_pairs,
        max_steps=settings.max_steps,
        episode_gap_s=settings.episode_gap_s,
        window_s=settings.window_s,
        risk_half_life_s=settings.risk_half_life_s,
        active_s=settings.active_s,
        context_half_life_s=settings.context_half_life_s,
        persistence_half_life_s=settings.persistence_half_life_s,
        hold_s=settings.hold_s,
        floor=settings.floor,
        rank_power=settings.rank_power,
        context_share=settings.context_share,
        auth_failures=rules.auth_failures,
        auth_window_s=rules.auth_window_s,
        injections=rules.injections,
        injection_window_s=rules.injection_window_s,
        flood_events=rules.flood_events,
        rate_per_minute=rules.rate_per_minute,
        watches_logins=int(role == "actor"),
        watches_requests=int(role == "address"),
        watches_steps=int(role == "session"),
    )
