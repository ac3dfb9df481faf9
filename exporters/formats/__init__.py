"""The forms that alerts are sent in: pure functions from an alert to bytes.

Owns which form a sink's settings ask for. Does not own sending (``exporters.sinks``) nor what an alert is
(``exporters.alert``). Nothing of an event's body enters any form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from exporters.alert import Alert
from exporters.formats import alertmanager, cef, cloudevents, ecs, leef, ocsf, otlp, syslog, wazuh
from exporters.formats.about import About
from guardian.sink_settings import Alertmanager, Otlp, Relp, Sink, Syslog

__all__ = ["About", "renderer"]

_FORMS: Final[dict[str, Callable[[Alert, About], bytes]]] = {
    "ocsf": ocsf.render,
    "ocsf-1.7": partial(ocsf.render, version="1.7.0"),
    "ocsf-1.6": partial(ocsf.render, version="1.6.0"),
    "ocsf-1.5": partial(ocsf.render, version="1.5.0"),
    "ecs": ecs.render,
    "wazuh": wazuh.render,
    "cloudevents": cloudevents.render,
    "rfc5424": syslog.render,
    "cef": cef.render,
    "leef": leef.render,
}


def renderer(settings: Sink, about: About) -> Callable[[Alert], bytes]:
    """The function that gives one sink its messages, each without a newline.

    Alertmanager and OTLP have one form; syslog and RELP take a whole RFC 5424 message with the configured form as its
    MSG; everything else takes the form that it names.
    """
    if isinstance(settings, Alertmanager):
        return lambda alert: alertmanager.render(alert, about)
    if isinstance(settings, Otlp):
        return lambda alert: otlp.render(alert, about)
    if isinstance(settings, Syslog | Relp):
        form, enterprise = settings.format, settings.enterprise
        return lambda alert: syslog.render(alert, about, form=form, enterprise=enterprise)
    render = _FORMS[settings.format]
    return lambda alert: render(alert, about)
