"""Templates: those that were built here, and what else the storage holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.core.control.base import Base, busy_error, leaving, refuse_if
from services.core.control.calls import Answer, Call, TemplateRules
from services.core.domain.names import Kind, Name, template_name
from services.core.domain.operation import Operation, Verb
from services.core.domain.resource import Condition, Resource, State
from services.core.domain.template import StoredTemplate, TemplateSpec
from services.core.errors import FeatureNotAvailable, InvalidField, NotFound, PreconditionFailed, Violation
from services.core.store import Transaction

#: Claim of a template, by its place, with its `size`.
CONTENT = "template-content"
#: Claim of a guest, by its id, with the place of the `template` that it was made from.
GUEST = "guest"
_ALL = 1000


class Templates(Base):
    """Changes to templates, and reading them. One that was found on the storage only is a resource without uid."""

    def build_template(self, call: Call, release: int, *, rebuild: bool) -> Answer:
        """Has a template made, or looked after if it was made before."""
        if self._templates is None:
            raise FeatureNotAvailable.of("templates", "are not needed in the mode of this backend")
        wanted = self._templates.wanted(release)
        spec = TemplateSpec(wanted.debian_release, wanted.content_version)
        name = template_name(self._backend, wanted.id)
        with self._store.snapshot() as tx:
            verb = Verb.CREATE if tx.find(name) is None else Verb.UPDATE

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            if verb is Verb.UPDATE:
                old = self._lock(tx, name, call, op.id)
                refuse_if([old] if old.state is State.DELETING else [], f"{name} is being removed", "is being removed")
                now = self._clock.now() if rebuild else old.update_time
                assigned = {**old.assigned, "place": wanted.place}
                made = replace(old, state=State.UPDATING, update_time=now, assigned=assigned)
                tx.save(made)
                return made
            if tx.find(name) is not None:
                raise busy_error(name, tx.busy_with(name), self._backend)
            made = self._new(name, spec, {"place": wanted.place})
            tx.insert(made, op.id)
            return made

        return self._run(call, name, verb, change, {"rebuild": rebuild})

    def delete_template(self, call: Call, name: Name) -> Answer:
        """Removes one that was built here and that no file server needs."""
        with self._store.snapshot() as tx:
            unknown = tx.find(name) is None
        if unknown:
            self.get_template(name)
            raise PreconditionFailed(
                f"{name} was not built by this backend",
                help="Remove it on the node, if nobody needs it: `pvesm free` with its volume id.",
                violations=[Violation(str(name), "was found on the storage")],
            )

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            template = self._lock(tx, name, call, op.id)
            refuse_if(_users(tx, template), f"{name} is in use", "was made from it")
            gone = leaving(template, op.options)
            tx.save(gone)
            return gone

        return self._run(call, name, Verb.DELETE, change)

    def get_template(self, name: Name) -> Resource[TemplateSpec]:
        with self._store.snapshot() as tx:
            built = tx.find(name)
        if built is not None:
            return self.with_size(built)
        for each in self._stored():
            if each.id == name.last:
                return self._found(each)
        raise NotFound.of(str(name))

    def templates(self, *, after: str, limit: int) -> list[Resource[TemplateSpec]]:
        """The next ones after the one with the key `after`, by their keys."""
        with self._store.snapshot() as tx:
            built = tx.page(Kind.TEMPLATE, f"backends/{self._backend}", after="", limit=_ALL)
        known = {each.name.key for each in built}
        found = [self._found(each) for each in self._stored()]
        every = [self.with_size(each) for each in built] + [each for each in found if each.name.key not in known]
        return sorted((each for each in every if each.name.key > after), key=lambda each: each.name.key)[:limit]

    def validate_template(self, name: Name) -> tuple[Resource[TemplateSpec], Sequence[Condition]]:
        """How it stands, looked at now."""
        template = self.get_template(name)
        return template, self._look(template)

    def is_current(self, template: Resource[TemplateSpec]) -> bool:
        """Whether it is what would be built now."""
        spec, rules = template.spec, self._templates
        if rules is None or not spec.content_version:
            return False
        try:
            return rules.wanted(spec.debian_release).content_version == spec.content_version
        except InvalidField:  # a release that only another version of this software builds
            return False

    def with_size(self, template: Resource[TemplateSpec]) -> Resource[TemplateSpec]:
        """The template with the size in which it was brought to the storage."""
        with self._store.snapshot() as tx:
            content = tx.claim(CONTENT, template.assigned["place"])
        size = content.facts["size"] if content is not None else 0
        return replace(template, assigned={**template.assigned, "size": size})

    def _look(self, template: Resource[TemplateSpec]) -> Sequence[Condition]:
        rules: TemplateRules | None = self._templates
        return rules.look(template) if rules is not None else ()

    def _stored(self) -> Sequence[StoredTemplate]:
        return self._templates.stored() if self._templates is not None else ()

    def _found(self, each: StoredTemplate) -> Resource[TemplateSpec]:
        spec = TemplateSpec(each.debian_release, each.content_version)
        name, time = template_name(self._backend, each.id), each.create_time
        return Resource(name, "", spec, State.READY, 1, 1, time, time, {"place": each.place, "size": each.size})


def _users(tx: Transaction, template: Resource[Any]) -> list[Resource[Any]]:
    """File servers that were made from a template, or that name it."""
    place = template.assigned["place"]
    owners = {claim.owner for claim in tx.claims_on(GUEST) if claim.facts.get("template") == place}
    return [
        server
        for server in tx.servers()
        if server.uid in owners
        or (server.spec.lxc is not None and server.spec.lxc.placement.template == str(template.name))
    ]
