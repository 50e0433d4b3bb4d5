/** The services with their handlers, and a playground that calls them. */

import type { Service, Services as Answer } from "../api/schema";
import { useCommand } from "../commands";
import { Copy, Empty, Head, Trouble } from "../components/basics";
import { Playground } from "../components/playground";
import { useLive } from "../live";

export function Services({ service, handler }: { service?: string; handler?: string }) {
  const { data, error } = useLive<Answer>("/admin/services");
  const command = useCommand();
  const chosen = data?.services.find((each) => each.name === service);
  const method = handler === undefined ? undefined : chosen?.handlers[handler];
  return (
    <>
      <Head title={service ? (handler ? `${service}/${handler}` : service) : "Services"} />
      {!data && (
        <Empty data={data} error={error}>
          Nothing.
        </Empty>
      )}
      {data && <Trouble error={error} />}
      {data && service && !chosen && <p class="trouble">There is no service {service}.</p>}
      {chosen && handler && method ? (
        <Playground key={`${service}/${handler}`} service={chosen} name={handler} handler={method} />
      ) : (
        (chosen ? [chosen] : (data?.services ?? [])).map((each) => <ServiceCard key={each.name} of={each} />)
      )}
      <Copy text={service ? command("services", "show", service) : command("services", "list")} />
    </>
  );
}

function ServiceCard({ of }: { of: Service }) {
  const link = `/console/services/${encodeURIComponent(of.name)}`;
  const id = `service-${of.name}`;
  return (
    <section class="card" aria-labelledby={id}>
      <h2 id={id}>
        <a href={link}>{of.name}</a> <span class="quiet">{of.kind === "object" ? "virtual object" : of.kind}</span>
      </h2>
      {of.deployment && (
        <p class="quiet">
          <a href="/console/deployments">{of.deployment}</a>
        </p>
      )}
      <ul class="lines">
        {Object.entries(of.handlers).map(([name, handler]) => (
          <li key={name} class="line">
            {handler.private ? <span class="mono">{name}</span> : <a href={`${link}/${encodeURIComponent(name)}`}>{name}</a>}
            <span class="quiet">
              {handler.kind}
              {handler.private && ", private"}
            </span>
            {handler.doc && <span class="quiet">{handler.doc.split("\n")[0]}</span>}
          </li>
        ))}
      </ul>
    </section>
  );
}
