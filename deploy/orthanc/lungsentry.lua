-- Forwards every CT series, and the PT and NM series that go with a CTAC, to Lungsentry once it is stable.
-- Lungsentry decides by itself which of them it analyses, and says why not for the others.
-- Each series becomes a job of Orthanc (menu "Jobs"), where a failed one can be resubmitted.

local WANTED = { CT = true, PT = true, NM = true }

function OnStableSeries(seriesId, tags, metadata)
   if WANTED[tags['Modality']] then
      print('forwarding a series to lungsentry: ' .. seriesId)
      RestApiPost('/modalities/lungsentry/store', '{"Resources":["' .. seriesId .. '"],"Asynchronous":true}')
   end
end
