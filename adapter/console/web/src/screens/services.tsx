/** The services with their handlers, and a playground that calls them. */

import { path } from "../api/client";
import type { Service, Services as Answer } from "../api/schema";
import { useCommand } from "../commands";
import { Copy, Empty, Head, Metadata, Trouble } from "../components/basics";
import { Playground } from "../components/playground";
import { useLive } from "../live";

export function Services() {
  const { data, error } = useLive<Answer>("/admin/services");
  const command = useCommand();
  return (
    <>
      <Head title="Services" />
      {data && data.services.length > 0 ? (
        <>
          <Trouble error={error} />
          {data.services.map((each) => (
            <ServiceCard key={each.name} of={each} />
          ))}
        </>
      ) : (
        <Empty data={data} error={error}>
          Nothing is deployed.
        </Empty>
      )}
      <Copy text={command("services", "list")} />
    </>
  );
}

/** One service, and the playground of a handler. */
export function ServiceScreen({ service, handler }: { service: string; handler?: string }) {
  const { data, error } = useLive<Service>(path("admin", "services", service));
  const command = useCommand();
  const method = handler === undefined ? undefined : data?.handlers[handler];
  return (
    <>
      <Head title={handler ? `${service}/${handler}` : service} />
      {!data && (
        <Empty data={data} error={error}>
          Nothing.
        </Empty>
      )}
      {data && <Trouble error={error} />}
      {data && handler && !method && <p class="trouble">{`${service} has no handler ${handler}.`}</p>}
      {data &&
        (handler && method ? (
          <Playground key={`${service}/${handler}`} service={data} name={handler} handler={method} />
        ) : (
          <ServiceCard of={data} />
        ))}
      <Copy text={command("services", "show", service)} label="Command for the service" />
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
      {of.doc && <p>{of.doc}</p>}
      <Metadata of={of.metadata} />
      <ul class="lines">
        {Object.entries(of.handlers).map(([name, handler]) => (
          <li key={name} class="line">
            {handler.private ? (
              <span class="mono">{name}</span>
            ) : (
              <a href={`${link}/${encodeURIComponent(name)}`}>{name}</a>
            )}
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
