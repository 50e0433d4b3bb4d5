/** Invocations as lines of a table. */

import { useLocation } from "preact-iso";
import type { Summary } from "../api/schema";
import { Badge, Time, To } from "./basics";
import { BigTable } from "./table";

interface Props {
  label: string;
  of: Summary[];
  selected?: Set<string>;
  onSelect?: (ids: Set<string>) => void;
}

const COLUMNS = [
  { title: "Status", name: "status", cell: (each: Summary) => <Badge of={each} /> },
  { title: "Target", name: "target", cell: (each: Summary) => <To id={each.id}>{each.target}</To> },
  { title: "What is the matter", name: "matter", cell: matter },
  { title: "Created", name: "created", cell: (each: Summary) => <Time at={each.created} /> },
  { title: "Attempts", name: "attempts", cell: (each: Summary) => each.attempts },
  { title: "Deployment", name: "deployment", cell: (each: Summary) => each.deployment },
];

export function InvocationsTable({ label, of, selected, onSelect }: Props) {
  const { route } = useLocation();
  return (
    <BigTable
      label={label}
      rows={of}
      columns={COLUMNS}
      id={(each) => each.id}
      onOpen={(each) => route(`/console/invocations/${each.id}`)}
      selected={selected}
      onSelect={onSelect}
    />
  );
}

function matter(each: Summary) {
  const text = each.error ?? (each.waits_for ? `waits for ${each.waits_for}` : "");
  return <span title={text}>{text}</span>;
}
